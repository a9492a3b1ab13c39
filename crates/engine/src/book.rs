//! What this process knows of a cluster beside the picture of it: its operations, and what its hosts told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{OperationId, Text};
use operations::kernel::{Fleet, HostLook, Hosts, Member};
use tokio::sync::watch;

/// The book of one cluster. Reading takes what is there; nobody waits for a reader.
#[derive(Default)]
pub(crate) struct Book {
    pages: Mutex<Pages>,
    bell: watch::Sender<()>,
}

#[derive(Clone, Default)]
pub(crate) struct Pages {
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) fleet: Arc<Fleet>,
}

impl Book {
    pub(crate) fn read(&self) -> Pages {
        self.pages().clone()
    }

    /// Rings when an operation is told to be otherwise than before.
    pub(crate) fn bell(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    pub(crate) fn tell(&self, id: &OperationId, member: Member) {
        let rings = Arc::make_mut(&mut self.pages().fleet).tell(id, member);
        if rings {
            self.bell.send_replace(());
        }
    }

    pub(crate) fn leave(&self, id: &OperationId) {
        Arc::make_mut(&mut self.pages().fleet).leave(id);
        self.bell.send_replace(());
    }

    pub(crate) fn saw(&self, node: Text, look: HostLook) {
        Arc::make_mut(&mut self.pages().hosts).saw(node, look);
    }

    /// Nobody asks about this host any more.
    pub(crate) fn forget(&self, node: &str) {
        Arc::make_mut(&mut self.pages().hosts).forget(node);
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
