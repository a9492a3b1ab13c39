//! TLS to the server. The server is known by its authority alone: at enrolment by the fingerprint in the token, later by
//! the certificate that was kept. No public authority counts.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use host::{Frame, Frames, FromAgent, PROTOCOL, SERVER_NAME, ToAgent};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::{Config, Token};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long a step of a connection's beginning may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

pub(crate) fn server_name() -> Result<ServerName<'static>, Failure> {
    Ok(ServerName::try_from(SERVER_NAME)?)
}

/// SHA-256.
fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

/// With our certificate, trusting the kept authority.
pub(crate) fn known(config: &Config) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(config.authority.as_bytes())?)?;
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(config.certificate.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(config.key.as_bytes())?;
    let mut tls = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain?, key)?;
    tls.resumption = rustls::client::Resumption::disabled();
    Ok(tls)
}

/// Trusts whoever has a chain to the one authority with this fingerprint, which has to be in the chain.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = intermediates
            .iter()
            .find(|one| sha256(one) == self.fingerprint);
        let unknown = rustls::CertificateError::UnknownIssuer;
        let authority = pinned.ok_or(rustls::Error::InvalidCertificate(unknown))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn pinned(fingerprint: [u8; 32]) -> Result<ClientConfig, Failure> {
    let provider = provider();
    let verifier = Pinned {
        fingerprint,
        provider: provider.clone(),
    };
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(tls)
}

/// Dials the first address that answers.
pub(crate) fn dial(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the server's name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(address, PATIENCE) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What enrolment gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Our certificate, PEM.
    pub certificate: String,
    /// Its key, PEM; made here.
    pub key: String,
    /// The server's authority, PEM.
    pub authority: String,
}

/// Asks for a certificate with a one-time token. The key is made here and stays here. A server without the authority that
/// the token names gets neither token nor request.
///
/// # Errors
/// The server cannot be reached, is another one, or says no.
pub fn enrol(addresses: &[SocketAddr], token: &Token, node: &str) -> Result<Identity, Failure> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, node);
    let request = params.serialize_request(&key)?.pem()?;
    let tls = Arc::new(pinned(token.fingerprint)?);
    let mut connection = rustls::ClientConnection::new(tls, server_name()?)?;
    let mut stream = dial(addresses)?;
    // Before anything is said.
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    let message = FromAgent::Enrol {
        protocol: PROTOCOL,
        token: token.text.clone(),
        request,
    };
    let mut link = rustls::Stream::new(&mut connection, &mut stream);
    link.write_all(&Frame::Message(serde_json::to_vec(&message)?).encode()?)?;
    link.flush()?;
    match receive(&mut link)? {
        ToAgent::Enrolled {
            certificate,
            authority,
        } => {
            let kept = CertificateDer::from_pem_slice(authority.as_bytes())?;
            if sha256(&kept) != token.fingerprint {
                return Err("the server gave another authority than the token names".into());
            }
            Ok(Identity {
                certificate,
                key: key.serialize_pem(),
                authority,
            })
        }
        ToAgent::Goodbye { code, message } => {
            Err(format!("the server refused: {code}: {message}").into())
        }
        _ => Err("the server answered something else".into()),
    }
}

fn receive(link: &mut impl io::Read) -> Result<ToAgent, Failure> {
    let mut frames = Frames::default();
    let mut buffer = [0; 4096];
    loop {
        if let Some(frame) = frames.take()? {
            return match frame {
                Frame::Message(json) => Ok(serde_json::from_slice(&json)?),
                Frame::Data { .. } => Err("data instead of an answer".into()),
            };
        }
        let count = link.read(&mut buffer)?;
        if count == 0 {
            return Err("the server has closed the connection".into());
        }
        frames.push(&buffer[..count]);
    }
}
