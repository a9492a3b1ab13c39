//! Ways to hosts, as whoever runs the service has them.

use std::fmt;
use std::sync::Arc;

use hosts::{Way, WayName};
use model::{ClusterId, Node};
use operations::kernel;

type Find = dyn Fn(&ClusterId, &Node) -> Option<Way> + Send + Sync;

/// Finds the best way to the host of a node at this moment.
#[derive(Clone)]
pub struct Ways(Arc<Find>);

impl Ways {
    /// As this says each time it is asked.
    pub fn by(find: impl Fn(&ClusterId, &Node) -> Option<Way> + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    pub(crate) fn to(&self, cluster: &ClusterId, node: &Node) -> Option<Way> {
        (self.0)(cluster, node)
    }
}

impl Default for Ways {
    /// None.
    fn default() -> Self {
        Self::by(|_, _| None)
    }
}

impl fmt::Debug for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ways")
    }
}

/// A way's name as the record has it.
pub(crate) fn way_of(name: WayName) -> kernel::Way {
    match name {
        WayName::Agent => kernel::Way::Agent,
        WayName::Ssh => kernel::Way::Ssh,
        WayName::CloudAssistant => kernel::Way::CloudAssistant,
    }
}
