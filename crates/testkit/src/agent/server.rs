//! A server of agents, as small as can be: blocking, one connection at a time, and free to do what no server would.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use host::{Ask, Frame, Frames, FromAgent, SERVER_NAME, ToAgent};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// Whoever does not speak for so long does not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who signs certificates of agents and of their server.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, "refloat test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ok(Self(CertifiedIssuer::self_signed(
            params,
            KeyPair::generate()?,
        )?))
    }

    /// Its certificate.
    pub fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A token of this authority.
    pub fn token(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.0.der());
        let hex: String = digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("t1.s3cret.{hex}")
    }

    /// A certificate for this name and use, with its key.
    pub fn leaf(
        &self,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<(CertificateDer<'static>, KeyPair)> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.0)?.der().clone(), key))
    }

    /// What a server of this authority shows.
    pub fn serving(&self) -> Result<(CertificateDer<'static>, KeyPair)> {
        self.leaf(SERVER_NAME, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// What an agent asked for, signed.
    pub fn sign(&self, request: &str) -> Result<String> {
        let mut request = CertificateSigningRequestParams::from_pem(request)?;
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(request.signed_by(&self.0)?.pem())
    }
}

/// Where agents dial in.
pub struct Server {
    listener: TcpListener,
    config: Arc<ServerConfig>,
}

impl Server {
    /// As it should be.
    pub fn new(authority: &Authority) -> Result<Self> {
        let (leaf, key) = authority.serving()?;
        Self::with(authority, vec![leaf, authority.der()], &key)
    }

    /// One that shows this chain.
    pub fn with(
        authority: &Authority,
        chain: Vec<CertificateDer<'static>>,
        key: &KeyPair,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()?;
        // Whether certificate and key belong together is what a test may want to get wrong.
        let Ok(key) = PrivateKeyDer::try_from(key.serialize_der()) else {
            bail!("the key is none");
        };
        let key = provider.key_provider.load_private_key(key)?;
        let certified = CertifiedKey::new(chain, key);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        Ok(Self {
            listener: TcpListener::bind("127.0.0.1:0")?,
            config: Arc::new(config),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// The next connection.
    pub fn accept(&self) -> Result<Peer> {
        let patience = Timespec::try_from(PATIENCE)?;
        let comes = poll(
            &mut [PollFd::new(&self.listener, PollFlags::IN)],
            Some(&patience),
        )?;
        ensure!(comes > 0, "nobody dials in");
        let (socket, _) = self.listener.accept()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let connection = ServerConnection::new(self.config.clone())?;
        Ok(Peer {
            stream: StreamOwned::new(connection, socket),
            frames: Frames::default(),
        })
    }

    /// An agent that said hello and was welcomed.
    pub fn agent(&self) -> Result<Peer> {
        let mut peer = self.accept()?;
        match peer.message()? {
            Some(FromAgent::Hello { .. }) => {}
            other => bail!("no hello: {other:?}"),
        }
        peer.send(&ToAgent::Welcome {
            protocol: host::PROTOCOL,
        })?;
        Ok(peer)
    }

    /// Enrols whoever comes next, and gives back the token they showed.
    pub fn enrol(&self, authority: &Authority) -> Result<String> {
        let mut peer = self.accept()?;
        let Some(FromAgent::Enrol { token, request, .. }) = peer.message()? else {
            bail!("no request to enrol");
        };
        peer.send(&ToAgent::Enrolled {
            certificate: authority.sign(&request)?,
            authority: authority.pem(),
        })?;
        Ok(token)
    }
}

/// The other end of a connection.
pub struct Peer {
    stream: StreamOwned<ServerConnection, TcpStream>,
    frames: Frames,
}

impl Peer {
    /// The next frame; nothing when the other side has ended it.
    pub fn frame(&mut self) -> Result<Option<Frame>> {
        let mut buffer = [0; 16 << 10];
        loop {
            if let Some(frame) = self.frames.take()? {
                return Ok(Some(frame));
            }
            match self.stream.read(&mut buffer) {
                Ok(count) if count > 0 => self.frames.push(&buffer[..count]),
                _ => return Ok(None),
            }
        }
    }

    /// The next message; nothing when the other side has ended it.
    pub fn message(&mut self) -> Result<Option<FromAgent>> {
        match self.frame()? {
            None => Ok(None),
            Some(Frame::Message(json)) => Ok(Some(serde_json::from_slice(&json)?)),
            Some(Frame::Data { .. }) => bail!("data instead of a message"),
        }
    }

    /// Sends bytes as they are. That the other side has gone already shows at the answer.
    pub fn raw(&mut self, bytes: &[u8]) {
        let _ = self
            .stream
            .write_all(bytes)
            .and_then(|()| self.stream.flush());
    }

    /// Says something.
    pub fn send(&mut self, message: &ToAgent) -> Result<()> {
        let json = serde_json::to_vec(message)?;
        self.raw(&Frame::Message(json).encode()?);
        Ok(())
    }

    /// Asks for something.
    pub fn ask(&mut self, ask: u64, what: Ask) -> Result<()> {
        self.send(&ToAgent::Ask { ask, what })
    }
}
