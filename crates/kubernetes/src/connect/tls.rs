//! TLS to a server: whom we trust, and as whom we show ourselves.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::pem::{certificates, trimmed};
use super::verify::{Anybody, Verifier};

/// Whom we take for the server.
#[derive(Clone, Debug)]
pub(super) enum Trust {
    /// Whom the system trusts.
    System,
    /// These authorities.
    Data(Vec<u8>),
    /// The authorities in a file, which is read again now and then.
    File(PathBuf),
    /// Anybody.
    Anybody,
}

impl Trust {
    /// The authorities that are named, as far as they can be read.
    pub(super) fn authorities(&self) -> Vec<CertificateDer<'static>> {
        match self {
            Self::Data(pem) => certificates(pem),
            Self::File(path) => certificates(&std::fs::read(path).unwrap_or_default()),
            Self::System | Self::Anybody => Vec::new(),
        }
    }
}

/// As whom we show ourselves; it may change while connections come and go.
#[derive(Debug, Default)]
pub(super) struct Identity(RwLock<Option<Arc<CertifiedKey>>>);

impl Identity {
    /// Shows this one from now on; whether it is another one than before.
    pub(super) fn set(&self, key: Option<CertifiedKey>) -> bool {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = held.as_ref().map(|key| &key.cert);
        let differs = before != key.as_ref().map(|key| &key.cert);
        *held = key.map(Arc::new);
        differs
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    fn has_certs(&self) -> bool {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        held.is_some()
    }
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// # Errors
/// In words, what cannot be used.
pub(super) fn client_config(
    trust: &Trust,
    identity: Arc<Identity>,
) -> Result<ClientConfig, String> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let given = |pem: &[u8], file| {
        let certificates = certificates(pem);
        if certificates.is_empty() {
            return Err("there is no certificate in what is given as the authority".to_owned());
        }
        Ok(Arc::new(Verifier::new(
            certificates,
            file,
            provider.clone(),
        )))
    };
    let builder = match trust {
        Trust::System => builder
            .with_platform_verifier()
            .map_err(|error| error.to_string())?,
        Trust::Data(pem) => builder
            .dangerous()
            .with_custom_certificate_verifier(given(pem, None)?),
        Trust::File(path) => {
            let pem = std::fs::read(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            let verifier = given(&pem, Some(path.as_path()))?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        }
        Trust::Anybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider))),
    };
    Ok(builder.with_client_cert_resolver(identity))
}

/// A certificate with its key. What the certificate says is the server's to judge: rustls would refuse X.509 v1, which
/// `openssl x509 -req` makes and API servers take.
///
/// # Errors
/// In words, what is missing or does not fit.
pub(super) fn certified(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, String> {
    let chain = certificates(certificate);
    if chain.is_empty() {
        return Err("there is no certificate in what is given as the client's certificate".into());
    }
    let sections: Vec<(SectionKind, Vec<u8>)> =
        <(SectionKind, Vec<u8>)>::pem_slice_iter(&trimmed(key))
            .filter_map(Result::ok)
            .collect();
    let keys = sections.into_iter().filter(|(kind, _)| {
        matches!(
            kind,
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey
        )
    });
    let provider = provider();
    // Labels lie; Go tries each form, too.
    let forms = |der: Vec<u8>| -> [PrivateKeyDer<'static>; 3] {
        [
            PrivateKeyDer::Pkcs8(der.clone().into()),
            PrivateKeyDer::Pkcs1(der.clone().into()),
            PrivateKeyDer::Sec1(der.into()),
        ]
    };
    let key = keys
        .flat_map(|(_, der)| forms(der))
        .find_map(|der| provider.key_provider.load_private_key(der).ok())
        .ok_or("there is no private key that can be used in what is given as the client's key")?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err("the client's key is not the one of its certificate".to_owned())
        }
        _ => Ok(certified),
    }
}
