//! What a control plane is started with.

use std::time::Duration;

/// How to start a [`ControlPlane`](super::ControlPlane).
#[derive(Debug, Clone)]
pub struct Options {
    /// Keep etcd's data on disk and flush it, for honest write latency. Otherwise it lies in memory.
    pub fsync: bool,
    /// How long a node may be silent before it is Unknown. Kubernetes' own default is 50 s.
    pub node_monitor_grace: Duration,
    /// The controllers to run, as `--controllers` of kube-controller-manager takes them; `None`: the default ones.
    pub controllers: Option<String>,
    /// The users of the token file. The default has `alice`, `bob` and `carol`, none with any right.
    pub users: Vec<User>,
    /// Further flags for etcd. They come last, so they win.
    pub etcd_flags: Vec<String>,
    /// Further flags for kube-apiserver.
    pub apiserver_flags: Vec<String>,
    /// Further flags for kube-controller-manager.
    pub controller_manager_flags: Vec<String>,
    /// Further flags for kube-scheduler.
    pub scheduler_flags: Vec<String>,
    /// How long the start may take.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fsync: false,
            node_monitor_grace: Duration::from_secs(40),
            controllers: None,
            users: ["alice", "bob", "carol"].map(User::named).into(),
            etcd_flags: Vec::new(),
            apiserver_flags: Vec::new(),
            controller_manager_flags: Vec::new(),
            scheduler_flags: Vec::new(),
            patience: Duration::from_secs(180),
        }
    }
}

/// Somebody the API server knows by a static bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user name.
    pub name: String,
    /// The bearer token; of `User::named("alice")` it is `alice-token`.
    pub token: String,
    /// The groups; `system:masters` may do everything.
    pub groups: Vec<String>,
}

impl User {
    /// A user without groups whose token is `<name>-token`.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            token: format!("{name}-token"),
            groups: Vec::new(),
        }
    }

    /// The same user in one more group.
    #[must_use]
    pub fn in_group(mut self, group: &str) -> Self {
        self.groups.push(group.to_owned());
        self
    }
}
