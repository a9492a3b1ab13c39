//! The server's own certificate authority. It signs two kinds of certificates: the one by which agents know the server,
//! and the agents' own. Nothing else trusts it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::bytes::sha256;

/// How long certificates of the authority, and those of agents, are valid. Trust ends by revocation in the record, not
/// by the calendar: a host that was off for a year must not need a person.
const YEARS: i32 = 10;

/// Why the authority cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file of it.
    #[error("{} cannot be read or written", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The files are not a certificate and its key.
    #[error("{} is damaged: {detail}", .path.display())]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// What.
        detail: String,
    },
    /// A request that cannot be signed.
    #[error("the certificate request cannot be used: {detail}")]
    Request {
        /// Why.
        detail: String,
    },
}

/// The authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

/// A certificate for an agent.
pub(crate) struct Issued {
    pub(crate) pem: String,
    pub(crate) fingerprint: [u8; 32],
}

fn params(name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let year = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .year();
    // From a day of the past, so that a host whose clock is behind is not locked out.
    params.not_before = rcgen::date_time_ymd(i32::from(year) - 1, 1, 1);
    params.not_after = rcgen::date_time_ymd(i32::from(year) + YEARS, 1, 1);
    Ok(params)
}

fn authority_params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = params("refloat agents")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

impl Authority {
    /// The one in this folder; made (key 0600) when there is none.
    ///
    /// # Errors
    /// The files cannot be read, written or understood. A damaged authority is never replaced: every agent would be lost.
    pub fn open(folder: &Path) -> Result<Self, AuthorityError> {
        let (key_path, path) = (folder.join("agents.key"), folder.join("agents.pem"));
        let damaged = |detail: String| AuthorityError::Damaged {
            path: folder.to_owned(),
            detail,
        };
        if !path.exists() && !key_path.exists() {
            return Self::make(folder, &key_path, &path);
        }
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| AuthorityError::File {
                path: path.to_owned(),
                source,
            })
        };
        let (pem, key) = (read(&path)?, read(&key_path)?);
        let key = KeyPair::from_pem(&key).map_err(|error| damaged(error.to_string()))?;
        let issuer =
            Issuer::from_ca_cert_pem(&pem, key).map_err(|error| damaged(error.to_string()))?;
        Self::of(issuer, pem, &damaged)
    }

    fn make(folder: &Path, key_path: &Path, path: &Path) -> Result<Self, AuthorityError> {
        let damaged = |detail: String| AuthorityError::Damaged {
            path: folder.to_owned(),
            detail,
        };
        let made = (|| {
            let key = KeyPair::generate()?;
            let key_pem = key.serialize_pem();
            let pem = CertifiedIssuer::self_signed(authority_params()?, key)?.pem();
            let issuer = Issuer::from_ca_cert_pem(&pem, KeyPair::from_pem(&key_pem)?)?;
            Ok::<_, rcgen::Error>((issuer, pem, key_pem))
        })();
        let (issuer, pem, key_pem) = made.map_err(|error| damaged(error.to_string()))?;
        // The certificate last: its presence says that the key is whole.
        for (path, text) in [(key_path, &key_pem), (path, &pem)] {
            write(path, text).map_err(|source| AuthorityError::File {
                path: path.to_owned(),
                source,
            })?;
        }
        Self::of(issuer, pem, &damaged)
    }

    fn of(
        issuer: Issuer<'static, KeyPair>,
        pem: String,
        damaged: &dyn Fn(String) -> AuthorityError,
    ) -> Result<Self, AuthorityError> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| damaged(error.to_string()))?;
        Ok(Self { issuer, pem, der })
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of its certificate: what a token carries, so that an agent knows the right server from an impostor.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.der)
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.der.clone()
    }

    /// A certificate for the server under [`host::SERVER_NAME`], with its key.
    pub(crate) fn serving(
        &self,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), AuthorityError> {
        let issued = (|| {
            let mut params = params(host::SERVER_NAME)?;
            params.subject_alt_names = vec![SanType::DnsName(host::SERVER_NAME.try_into()?)];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &self.issuer)?;
            Ok::<_, rcgen::Error>((certificate.der().clone(), key.serialize_der()))
        })();
        let (certificate, key) = issued.map_err(|error| AuthorityError::Request {
            detail: error.to_string(),
        })?;
        Ok((
            certificate,
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
        ))
    }

    /// A certificate for an agent of this node. Of the request only the key counts: what it says of names and uses is
    /// not for it to say.
    pub(crate) fn issue(&self, request: &str, node: &str) -> Result<Issued, AuthorityError> {
        let issued = (|| {
            let mut request = CertificateSigningRequestParams::from_pem(request)?;
            let mut params = params(node)?;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            request.params = params;
            request.signed_by(&self.issuer)
        })();
        let certificate = issued.map_err(|error: rcgen::Error| AuthorityError::Request {
            detail: error.to_string(),
        })?;
        Ok(Issued {
            pem: certificate.pem(),
            fingerprint: sha256(certificate.der()),
        })
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_after_a_restart_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open(folder.path()).unwrap();
        let second = Authority::open(folder.path()).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        fs::write(folder.path().join("agents.key"), "garbage").unwrap();
        assert!(matches!(
            Authority::open(folder.path()),
            Err(AuthorityError::Damaged { .. })
        ));
        fs::remove_file(folder.path().join("agents.key")).unwrap();
        assert!(matches!(
            Authority::open(folder.path()),
            Err(AuthorityError::File { .. })
        ));
    }

    #[test]
    fn garbage_is_not_signed() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path()).unwrap();
        for request in ["", "garbage", authority.pem()] {
            assert!(authority.issue(request, "n").is_err(), "{request}");
        }
    }
}
