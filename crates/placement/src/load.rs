//! What pods take on a node.

use model::Text;

use crate::facts::{Amounts, CPU, Disk, HostPort, MEMORY, Shape, Template};

/// What changes on a node when pods come and go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    pub(crate) requested: Amounts,
    /// CPU and memory with defaults for containers that ask for none.
    pub(crate) counted: [i64; 2],
    pub(crate) pods: i64,
    pub(crate) ports: Vec<HostPort>,
    pub(crate) disks: Vec<Disk>,
    /// Volumes by driver and handle, once per pod.
    pub(crate) volumes: Vec<(Text, Text)>,
    pub(crate) cordoned: bool,
    /// The cordon that the snapshot shows is lifted.
    pub(crate) uncordoned: bool,
}

impl Load {
    /// A pod comes (1) or goes (-1).
    pub(crate) fn take(
        &mut self,
        shape: &Shape,
        template: &Template,
        volumes: Vec<(Text, Text)>,
        times: i64,
    ) {
        self.requested.add(&shape.request, times);
        self.pods += times;
        for at in [CPU, MEMORY] {
            self.counted[at] += shape.counted[at] * times;
        }
        change(&mut self.ports, template.ports.iter().cloned(), times);
        change(&mut self.disks, template.disks.iter().cloned(), times);
        change(&mut self.volumes, volumes, times);
    }
}

fn change<T: PartialEq>(held: &mut Vec<T>, some: impl IntoIterator<Item = T>, times: i64) {
    for one in some {
        if times > 0 {
            held.push(one);
        } else if let Some(at) = held.iter().position(|other| *other == one) {
            held.swap_remove(at);
        }
    }
}
