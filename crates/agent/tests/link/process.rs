//! The agent as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use testkit::agent::server::{Authority, Server};

const AGENT: &str = env!("CARGO_BIN_EXE_refloat-agent");

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
        let install = agent.install(server.address().unwrap(), &authority.token());
        assert_eq!(server.enrol(authority).unwrap(), authority.token());
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
