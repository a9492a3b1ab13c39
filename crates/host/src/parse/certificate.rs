//! [`Probe::Certificates`](crate::Probe::Certificates): sections named by the file, with `CERTIFICATE` blocks in PEM.
//! Nothing else of a file leaves the host: [`certificate_blocks`] is what the agent sends, and the script does the same.
//!
//! Only the first certificate of a file is told: a file that holds a chain begins with its owner.

use jiff::civil;

use super::text::sections;
use crate::Certificate;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The lines of all `CERTIFICATE` blocks. Whatever else begins a block, ends one, or does not look like base64, ends it
/// too, so that a damaged file cannot take a key along.
pub fn certificate_blocks(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in text.lines().map(str::trim_end) {
        if line == BEGIN {
            inside = true;
            lines.push(line);
        } else if inside && line == END {
            inside = false;
            lines.push(line);
        } else if inside {
            inside = !line.is_empty() && line.bytes().all(is_base64);
            if inside {
                lines.push(line);
            }
        }
    }
    lines
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

pub(super) fn parse(text: &str) -> impl Iterator<Item = Certificate> {
    sections(text).into_iter().filter_map(|section| {
        let path = match section.rest {
            "" => section.name.to_owned(),
            rest => format!("{} {rest}", section.name),
        };
        let lines = section.lines.iter().map(|line| line.trim());
        let lines = lines.skip_while(|line| *line != BEGIN).skip(1);
        let base64: String = lines.take_while(|line| *line != END).collect();
        let der = decode_base64(&base64)?;
        let (name, from, until) = fields(&der)?;
        Some(Certificate {
            path,
            name,
            from,
            until,
        })
    })
}

/// Base64 with the standard alphabet, padding optional; nothing when another byte is in it.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(out)
}

const INTEGER: u8 = 0x02;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
/// 2.5.4.3, `commonName`.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Common name, not before, not after (RFC 5280, 4.1). Ten lines of DER for three fields; a whole X.509 parser would be
/// more to keep than it saves.
fn fields(der: &[u8]) -> Option<(String, i64, i64)> {
    let certificate = Der(der).expect(SEQUENCE)?;
    let mut body = Der(Der(certificate).expect(SEQUENCE)?);
    let (mut tag, _) = body.next()?;
    if tag == VERSION {
        (tag, _) = body.next()?;
    }
    if tag != INTEGER {
        return None;
    }
    body.expect(SEQUENCE)?;
    body.expect(SEQUENCE)?;
    let mut validity = Der(body.expect(SEQUENCE)?);
    let (from, until) = (time(validity.next()?)?, time(validity.next()?)?);
    let name = common_name(body.expect(SEQUENCE)?).unwrap_or_default();
    Some((name, from, until))
}

fn common_name(subject: &[u8]) -> Option<String> {
    let mut subject = Der(subject);
    while let Some((tag, set)) = subject.next() {
        let mut pair = Der(Der(set).expect(SEQUENCE).filter(|_| tag == SET)?);
        if pair.expect(OBJECT)? == COMMON_NAME {
            let (_, text) = pair.next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
    }
    None
}

/// `YYMMDDHHMMSSZ` with years from 1950, or `YYYYMMDDHHMMSSZ`; the only forms RFC 5280 allows.
fn time((tag, text): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: i16 = text[..2].parse().ok()?;
            (year + if year < 50 { 2000 } else { 1900 }, &text[2..])
        }
        (GENERALIZED_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let at = |place: usize| rest.get(place * 2..place * 2 + 2)?.parse::<i8>().ok();
    let moment = civil::DateTime::new(year, at(0)?, at(1)?, at(2)?, at(3)?, at(4)?, 0).ok()?;
    let moment = moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(moment.timestamp().as_second())
}

struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (length, rest) = rest.split_first()?;
        let (length, rest) = if *length < 0x80 {
            (usize::from(*length), rest)
        } else {
            // No certificate needs lengths of more than three bytes.
            let bytes = usize::from(*length & 0x7f);
            let digits = rest.get(..bytes).filter(|_| (1..=3).contains(&bytes))?;
            let length = digits
                .iter()
                .fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
            (length, &rest[bytes..])
        };
        let content = rest.get(..length)?;
        self.0 = &rest[length..];
        Some((*tag, content))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(tag, _)| *tag == wanted)
            .map(|(_, content)| content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    fn pem(until: i32) -> (String, String) {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "system:nodes");
        params
            .distinguished_name
            .push(DnType::CommonName, "system:node:n1");
        params.not_before = date_time_ymd(2024, 2, 29);
        params.not_after = date_time_ymd(until, 3, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (
            certificate.pem().replace('\r', ""),
            key.serialize_pem().replace('\r', ""),
        )
    }

    fn section(path: &str, text: &str) -> String {
        let lines: Vec<String> = certificate_blocks(text)
            .iter()
            .map(|line| format!(" {line}\n"))
            .collect();
        format!("@{path}\n{}", lines.concat())
    }

    #[test]
    fn validity_and_name() {
        // 2049 is written as UTCTime, 2050 and later as GeneralizedTime.
        for (year, until) in [
            (2025, 1_740_787_200),
            (2049, 2_498_169_600),
            (2060, 2_845_324_800),
        ] {
            let (certificate, key) = pem(year);
            let text = section("/a b.pem", &format!("{certificate}{key}{certificate}"));
            let found: Vec<Certificate> = parse(&text).collect();
            let expected = Certificate {
                path: "/a b.pem".to_owned(),
                name: "system:node:n1".to_owned(),
                from: 1_709_164_800,
                until,
            };
            assert_eq!(found, [expected]);
        }
    }

    #[test]
    fn a_key_never_leaves() {
        let (certificate, key) = pem(2030);
        // The lines after hold the public key, which the certificate has too.
        let secret: Vec<&str> = key.lines().skip(1).take(2).collect();
        let cut: String = certificate
            .lines()
            .take(3)
            .map(|line| format!("{line}\n"))
            .collect();
        for text in [
            format!("{key}{certificate}"),
            format!("{certificate}{key}"),
            format!("{cut}{key}"),
            format!("{BEGIN}\n{key}"),
            format!("{BEGIN}\nnot base64!\n{key}"),
        ] {
            let sent = certificate_blocks(&text).concat();
            assert!(secret.iter().all(|line| !sent.contains(line)), "{text}");
        }
    }

    #[test]
    fn damaged_certificates_are_no_certificates() {
        let (certificate, _) = pem(2030);
        let lines: Vec<&str> = certificate_blocks(&certificate);
        let der = decode_base64(&lines[1..lines.len() - 1].concat()).unwrap();
        assert!(fields(&der).is_some());
        for length in 0..der.len() {
            assert_eq!(fields(&der[..length]), None);
        }
        for at in 0..der.len() {
            let mut broken = der.clone();
            broken[at] ^= 0xff;
            fields(&broken);
        }
    }
}
