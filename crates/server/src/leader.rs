//! Whether this replica acts.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use kubernetes::{Elector, ElectorOptions};
use model::ClusterId;
use service::Service;
use tokio::sync::watch;

use crate::answer::{Answer, Failure};
use crate::options::LeaderOptions;

/// Our part in the election, if there is one.
pub(crate) struct Leader {
    options: Option<LeaderOptions>,
    elector: Mutex<Option<Elector>>,
    acts: watch::Sender<bool>,
}

impl Leader {
    pub(crate) fn new(options: Option<LeaderOptions>) -> Self {
        let acts = watch::Sender::new(options.is_none());
        Self {
            options,
            elector: Mutex::default(),
            acts,
        }
    }

    /// Whether we act now; without an election always.
    pub(crate) fn acts(&self) -> bool {
        match &*self.elector() {
            Some(elector) => *elector.leading().borrow(),
            None => self.options.is_none(),
        }
    }

    /// Waits until we act.
    pub(crate) async fn acting(&self) {
        // The sender lives in self.
        let _ = self.acts.subscribe().wait_for(|acts| *acts).await;
    }

    /// Who acts, as far as is known here.
    pub(crate) fn holder(&self) -> Option<String> {
        self.elector().as_ref().and_then(Elector::holder)
    }

    /// Refuses when another replica acts, and names it.
    pub(crate) fn check(&self) -> Answer<()> {
        if self.acts() {
            return Ok(());
        }
        Err(self.refusal())
    }

    /// Ask the leader.
    pub(crate) fn refusal(&self) -> Failure {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "not_leader").with("leader", self.holder())
    }

    /// Takes part once the first cluster is connected; returns when leadership was won and lost again.
    pub(crate) async fn campaign(
        &self,
        engine: &Service,
        mut first: watch::Receiver<Option<ClusterId>>,
    ) {
        let Some(options) = &self.options else {
            return std::future::pending().await;
        };
        let id = match first.wait_for(Option::is_some).await {
            Ok(id) => id.clone(),
            Err(_) => None,
        };
        let member = id.and_then(|id| engine.find(id.as_str()).ok());
        let Some(member) = member else {
            return std::future::pending().await;
        };
        let elector = ElectorOptions::new(&options.namespace, &options.name, &options.identity);
        let elector = Elector::start(&member.cluster, elector);
        let mut leading = elector.leading();
        *self.elector() = Some(elector);
        if leading.wait_for(|leading| *leading).await.is_ok() {
            tracing::info!(identity = options.identity, "this replica leads");
            self.acts.send_replace(true);
            // An error is the end of the elector.
            let _ = leading.wait_for(|leading| !*leading).await;
        }
    }

    /// Gives the Lease back. Only after everything that acts has ended.
    pub(crate) async fn stop(&self) {
        let elector = self.elector().take();
        if let Some(elector) = elector {
            elector.stop().await;
        }
    }

    fn elector(&self) -> MutexGuard<'_, Option<Elector>> {
        self.elector.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
