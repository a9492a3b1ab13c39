//! A server of agents, as small as can be: blocking, one connection at a time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use host::{Ask, Frame, Frames, FromAgent, SERVER_NAME, ToAgent};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// Whoever does not speak for so long does not come.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "refloat test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A token of this authority.
    pub(crate) fn token(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.0.der());
        let hex: String = digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("t1.s3cret.{hex}")
    }

    /// A certificate for this name and use, with its key.
    pub(crate) fn leaf(
        &self,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> (CertificateDer<'static>, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().der().clone(), key)
    }

    pub(crate) fn serving(&self) -> (CertificateDer<'static>, KeyPair) {
        self.leaf(SERVER_NAME, ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub(crate) fn sign(&self, request: &str) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(request).unwrap();
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        request.signed_by(&self.0).unwrap().pem()
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }
}

pub(crate) struct Server {
    listener: TcpListener,
    config: Arc<ServerConfig>,
}

impl Server {
    pub(crate) fn new(authority: &Authority) -> Self {
        let (leaf, key) = authority.serving();
        Self::with(authority, vec![leaf, authority.der()], &key)
    }

    /// One that shows this chain.
    pub(crate) fn with(
        authority: &Authority,
        chain: Vec<CertificateDer<'static>>,
        key: &KeyPair,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()
                .unwrap();
        // Whether certificate and key belong together is what a test may want to get wrong.
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let certified = CertifiedKey::new(chain, key);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        Self {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            config: Arc::new(config),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(crate) fn accept(&self) -> Peer {
        let (socket, _) = self.listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let connection = ServerConnection::new(self.config.clone()).unwrap();
        Peer {
            stream: StreamOwned::new(connection, socket),
            frames: Frames::default(),
        }
    }

    /// An agent that said hello and was welcomed.
    pub(crate) fn agent(&self) -> Peer {
        let mut peer = self.accept();
        let hello = peer.message();
        assert!(matches!(hello, Some(FromAgent::Hello { .. })), "{hello:?}");
        peer.send(&ToAgent::Welcome {
            protocol: host::PROTOCOL,
        });
        peer
    }
}

pub(crate) struct Peer {
    stream: StreamOwned<ServerConnection, TcpStream>,
    frames: Frames,
}

impl Peer {
    /// The next frame; nothing when the other side has ended it.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let mut buffer = [0; 16 << 10];
        loop {
            if let Some(frame) = self.frames.take().unwrap() {
                return Some(frame);
            }
            match self.stream.read(&mut buffer) {
                Ok(count) if count > 0 => self.frames.push(&buffer[..count]),
                _ => return None,
            }
        }
    }

    pub(crate) fn message(&mut self) -> Option<FromAgent> {
        match self.frame()? {
            Frame::Message(json) => Some(serde_json::from_slice(&json).unwrap()),
            Frame::Data { .. } => panic!("data"),
        }
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        let _ = self
            .stream
            .write_all(bytes)
            .and_then(|()| self.stream.flush());
    }

    pub(crate) fn send(&mut self, message: &ToAgent) {
        let json = serde_json::to_vec(message).unwrap();
        self.raw(&Frame::Message(json).encode().unwrap());
    }

    pub(crate) fn ask(&mut self, ask: u64, what: Ask) {
        self.send(&ToAgent::Ask { ask, what });
    }
}

pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_refloat-agent");

/// An agent's folders, and the agent while it runs.
pub(crate) struct Agent {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Agent {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            child: None,
        }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// `install` without the service, in the background: the test is the server meanwhile.
    pub(crate) fn install(
        &self,
        server: SocketAddr,
        token: &str,
    ) -> std::thread::JoinHandle<Output> {
        let config = self.config();
        let words =
            ["install", "--no-service", "--node", "n1", "--token", token].map(str::to_owned);
        std::thread::spawn(move || {
            Command::new(AGENT)
                .args(words)
                .args(["--server", &server.to_string(), "--config"])
                .arg(config)
                .output()
                .unwrap()
        })
    }

    /// Enrolled and running.
    pub(crate) fn enrolled(authority: &Authority, server: &Server) -> Self {
        let mut agent = Self::new();
        let install = agent.install(server.address(), &authority.token());
        let mut peer = server.accept();
        let Some(FromAgent::Enrol { token, request, .. }) = peer.message() else {
            panic!("no request");
        };
        assert_eq!(token, authority.token());
        peer.send(&ToAgent::Enrolled {
            certificate: authority.sign(&request),
            authority: authority.pem(),
        });
        let output = install.join().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        agent.start();
        agent
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn start(&mut self) {
        let child = Command::new(AGENT)
            .args(["run", "--config"])
            .arg(self.config())
            .arg("--state")
            .arg(self.state())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.config()).join(name)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
