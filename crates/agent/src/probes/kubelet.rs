//! Kubelet and what it lives by: its healthz, its certificates, its way to the API server.

use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use host::{certificate_blocks, decode_base64, sources};

use super::docker::{exchange, within};
use super::read;

const HEALTHZ: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10248);

pub(super) fn healthz(out: &mut dyn Write) -> io::Result<()> {
    let patience = Duration::from_secs(2);
    let answer = within(patience, move || {
        let mut stream = TcpStream::connect_timeout(&HEALTHZ, patience)?;
        stream.set_read_timeout(Some(patience))?;
        exchange(&mut stream, "/healthz")
    });
    match answer {
        Some(Ok((status, body))) => {
            writeln!(out, "@healthz {status}")?;
            let body = String::from_utf8_lossy(&body);
            for line in body.lines().filter(|line| !line.is_empty()) {
                writeln!(out, " {line}")?;
            }
        }
        Some(Err(error)) => writeln!(out, "@healthz {}", word(&error))?,
        None => writeln!(out, "@healthz timeout")?,
    }
    writeln!(out, "@config")?;
    for path in sources::KUBELET_CONFIGS {
        let text = read(path).unwrap_or_default();
        // Several are possible; the last one counts, as it does for kubelet.
        for line in text.lines() {
            for name in ["failSwapOn", "fail-swap-on="] {
                for (at, _) in line.match_indices(name) {
                    let value = line[at + name.len()..].trim_start_matches(['"', ':', ' ']);
                    let end = value
                        .find(|c: char| !c.is_ascii_lowercase())
                        .unwrap_or(value.len());
                    let colon = if name.ends_with('=') { "" } else { ": " };
                    writeln!(out, " {name}{colon}{}", &value[..end])?;
                }
            }
        }
    }
    Ok(())
}

fn word(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ConnectionRefused => "refused",
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "timeout",
        _ => "error",
    }
}

pub(super) fn certificates(out: &mut dyn Write) -> io::Result<()> {
    let blocks = |out: &mut dyn Write, path: &str, text: &str| {
        writeln!(out, "@{path}")?;
        certificate_blocks(text)
            .iter()
            .try_for_each(|line| writeln!(out, " {line}"))
    };
    for path in sources::CERTIFICATES {
        if let Some(text) = read(path) {
            blocks(out, path, &text)?;
        }
    }
    for path in sources::KUBECONFIGS {
        if let Some(data) = value(path, "client-certificate-data:") {
            let decoded = decode_base64(&data).unwrap_or_default();
            blocks(out, path, &String::from_utf8_lossy(&decoded))?;
        }
        // Where a kubeconfig points, if that was not read above.
        if let Some(path) = value(path, "client-certificate:")
            && path.starts_with('/')
            && !path.starts_with("/var/lib/kubelet/pki/")
            && let Some(text) = read(&path)
        {
            blocks(out, &path, &text)?;
        }
    }
    Ok(())
}

/// The first value of a name in a YAML or JSON file, as the script finds it: kubeconfigs are written by programs, one
/// name a line.
fn value(path: &str, name: &str) -> Option<String> {
    let text = read(path)?.replace(['"', '\'', ','], "");
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    let mut line = lines.find_map(|mut words| (words.next() == Some(name)).then_some(words))?;
    line.next().map(str::to_owned)
}

pub(super) fn api_server(out: &mut dyn Write) -> io::Result<()> {
    let server = sources::KUBECONFIGS
        .iter()
        .find_map(|path| value(path, "server:"));
    let Some((host, port)) = server.as_deref().and_then(host_and_port) else {
        return Ok(());
    };
    let shown = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.clone()
    };
    writeln!(out, "address {shown}:{port}")?;
    out.flush()?;
    let patience = Duration::from_secs(3);
    let word = within(patience, move || {
        let addresses: Vec<SocketAddr> = match (host.as_str(), port).to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(_) => return "name",
        };
        let mut word = "name";
        for address in addresses {
            word = match TcpStream::connect_timeout(&address, patience) {
                Ok(_) => return "ok",
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => "refused",
                Err(error) if error.kind() == ErrorKind::TimedOut => "timeout",
                Err(_) => "unreachable",
            };
        }
        word
    });
    writeln!(out, "result {}", word.unwrap_or("timeout"))
}

/// Of `https://host:port/path`; 443 and 80 go without saying.
fn host_and_port(url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let authority = rest.split('/').next()?;
    let default = if scheme == "http" { 80 } else { 443 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port))
            if !port.contains(']') && (authority.starts_with('[') || !host.contains(':')) =>
        {
            (host, port.parse().ok()?)
        }
        _ => (authority, default),
    };
    let host = host.trim_matches(['[', ']']);
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_urls() {
        let of = |url| host_and_port(url).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(
            of("https://10.0.0.1:6443").as_deref(),
            Some("10.0.0.1 6443")
        );
        assert_eq!(
            of("https://api.example/x").as_deref(),
            Some("api.example 443")
        );
        assert_eq!(of("http://[fd00::1]:80/").as_deref(), Some("fd00::1 80"));
        assert_eq!(of("https://[fd00::1]").as_deref(), Some("fd00::1 443"));
        assert_eq!(of("https://a:b"), None);
    }
}
