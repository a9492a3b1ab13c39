//! An agent's side of the link, for tests: one that does what it should ([`answer`]), and one that can do what an agent
//! would never do ([`Wire`]).

pub mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use host::{
    Ask, BootId, Frame, Frames, FromAgent, Outcome, PROTOCOL, Probe, Reading, SERVER_NAME, ToAgent,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// For an answer that must come soon. A server pings after 30 s of silence.
const SOON: Duration = Duration::from_secs(60);

/// A certificate with its key, PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// A key and a request to sign it.
pub fn request(names: &str) -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, names);
    let request = params.serialize_request(&key)?.pem()?;
    Ok((key.serialize_pem(), request))
}

/// A connection to the server's port for agents.
pub struct Wire {
    stream: TlsStream<TcpStream>,
    frames: Frames,
}

/// What became of something that was sent.
#[derive(Debug)]
pub enum Answer {
    /// The server said this.
    Message(ToAgent),
    /// The server ended the connection.
    Ended,
}

impl Wire {
    /// With a certificate or without; whoever the server is.
    pub async fn connect(address: SocketAddr, identity: Option<&Identity>) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone));
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(
                    identity.certificate.as_bytes(),
                )?],
                PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?,
            )?,
        };
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from(SERVER_NAME)?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await?;
        Ok(Self {
            stream,
            frames: Frames::default(),
        })
    }

    /// Sends bytes as they are. That the server has closed already shows at the answer.
    pub async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// Says something.
    pub async fn say(&mut self, message: &FromAgent) -> Result<()> {
        let frame = Frame::Message(serde_json::to_vec(message)?);
        self.raw(&frame.encode()?).await;
        Ok(())
    }

    /// Sends a file.
    pub async fn file(&mut self, ask: u64, name: &str, bytes: &[u8]) -> Result<()> {
        let name = name.to_owned();
        self.say(&FromAgent::File { ask, name }).await?;
        let bytes = bytes.to_vec();
        self.raw(&Frame::Data { ask, bytes }.encode()?).await;
        Ok(())
    }

    /// The next message, or the end.
    pub async fn answer(&mut self) -> Result<Answer> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.frames.take()? {
                Some(Frame::Message(json)) => {
                    return Ok(Answer::Message(serde_json::from_slice(&json)?));
                }
                Some(Frame::Data { .. }) => bail!("the server sent data"),
                None => {}
            }
            let read = timeout(SOON, self.stream.read(&mut buffer));
            match read.await.context("no answer")? {
                // An end without TLS's farewell is an end, too.
                Ok(0) | Err(_) => return Ok(Answer::Ended),
                Ok(count) => self.frames.push(&buffer[..count]),
            }
        }
    }

    /// Says hello and waits for the welcome.
    pub async fn welcome(address: SocketAddr, identity: &Identity) -> Result<Self> {
        let mut wire = Self::connect(address, Some(identity)).await?;
        wire.say(&hello()?).await?;
        match wire.answer().await? {
            Answer::Message(ToAgent::Welcome { .. }) => Ok(wire),
            other => bail!("not welcome: {other:?}"),
        }
    }
}

/// The boot that agents of tests say they run.
pub const BOOT: &str = "0f0e0d0c-0b0a-0908-0706-050403020100";

/// A hello.
pub fn hello() -> Result<FromAgent> {
    Ok(FromAgent::Hello {
        protocol: PROTOCOL,
        agent: "test".to_owned(),
        boot: BootId::new(BOOT)?,
        generation: 0,
    })
}

/// What [`BOOT`] looks like in the files of a host.
const BOOT_FILE: &str = "@/proc/sys/kernel/random/boot_id\n 0f0e0d0c-0b0a-0908-0706-050403020100\n";

/// What the probes of a host print on which docker hangs.
pub const DOCKER_HANGS: &[(Probe, &str)] = &[
    (Probe::Files, BOOT_FILE),
    (Probe::Docker, "installed\nsocket ok\nping hangs\n"),
];

/// Answers what is asked as a healthy host would, until the connection ends: the boot, one line of log, one file of
/// evidence, and success for every order.
pub async fn answer(wire: Wire) -> Result<()> {
    tell(wire, &[(Probe::Files, BOOT_FILE)]).await
}

/// The same with these texts of probes for every look.
pub async fn tell(mut wire: Wire, texts: &[(Probe, &str)]) -> Result<()> {
    loop {
        let (ask, what) = match wire.answer().await? {
            Answer::Ended => return Ok(()),
            Answer::Message(ToAgent::Ask { ask, what }) => (ask, what),
            Answer::Message(ToAgent::Ping) => {
                wire.say(&FromAgent::Pong).await?;
                continue;
            }
            Answer::Message(_) => continue,
        };
        match what {
            Ask::Look { .. } => {
                for (probe, text) in texts {
                    let reading = Reading {
                        probe: *probe,
                        outcome: Outcome::Done { code: 0 },
                        millis: 1,
                        text: (*text).to_owned(),
                    };
                    wire.say(&FromAgent::Read { ask, reading }).await?;
                }
            }
            Ask::Log { unit, .. } => wire.file(ask, &format!("{unit}.log"), b"a line\n").await?,
            Ask::Evidence { .. } => wire.file(ask, "kubelet.log", b"a line\n").await?,
            Ask::Act { .. } => {
                let acted = FromAgent::Acted {
                    ask,
                    ok: true,
                    output: String::new(),
                    repeated: false,
                };
                wire.say(&acted).await?;
                continue;
            }
        }
        wire.say(&FromAgent::Done { ask, error: None }).await?;
    }
}

/// Enrols with this token; what the server says.
pub async fn enrol(
    address: SocketAddr,
    token: &str,
    names: &str,
) -> Result<Result<Identity, Answer>> {
    let (key, request) = request(names)?;
    let mut wire = Wire::connect(address, None).await?;
    wire.say(&FromAgent::Enrol {
        protocol: PROTOCOL,
        token: token.to_owned(),
        request,
    })
    .await?;
    Ok(match wire.answer().await? {
        Answer::Message(ToAgent::Enrolled { certificate, .. }) => Ok(Identity { certificate, key }),
        other => Err(other),
    })
}

/// An attacker does not care who the server is.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
