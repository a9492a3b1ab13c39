use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    Attachment, Claim, ClaimAccess, Endpoint, EndpointSlice, Kind, Lease, ObjectKey, Service,
    Volume,
};

use super::nodes::hostnames;
use super::workloads::selector;
use super::{Fact, Mirrored, key, some, version};
use crate::mirror::intern::Interner;
use crate::mirror::wire;

impl Mirrored for wire::Service {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        let labels = wire::LabelSelector {
            match_labels: self.spec.selector,
            match_expressions: Vec::new(),
        };
        Fact::Service(Arc::new(Service {
            key: key(&self.metadata, interner),
            selector: (!labels.match_labels.is_empty()).then(|| selector(&labels, interner)),
        }))
    }
}

impl Mirrored for wire::EndpointSlice {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        let service = self
            .metadata
            .labels
            .get("kubernetes.io/service-name")
            .map_or("", String::as_str);
        let endpoints = self.endpoints.iter().filter_map(|endpoint| {
            let target = endpoint
                .target_ref
                .as_ref()
                .filter(|target| target.kind == "Pod")?;
            Some(Endpoint {
                pod: target.uid.as_str().into(),
                ready: endpoint.conditions.ready.unwrap_or(true),
            })
        });
        Fact::Slice(Arc::new(EndpointSlice {
            key: key(&self.metadata, interner),
            service: interner.text(service),
            endpoints: endpoints.collect(),
        }))
    }
}

impl Mirrored for wire::Claim {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        let shared = self
            .spec
            .access_modes
            .iter()
            .any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany");
        Fact::Claim(Arc::new(Claim {
            key: key(&self.metadata, interner),
            access: if shared {
                ClaimAccess::Shared
            } else {
                ClaimAccess::Single
            },
            volume: (!self.spec.volume_name.is_empty())
                .then(|| self.spec.volume_name.as_str().into()),
        }))
    }
}

impl Mirrored for wire::Volume {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        let hosts = hostnames(&BTreeMap::new(), self.spec.node_affinity.required.as_ref());
        Fact::Volume(Arc::new(Volume {
            name: self.metadata.name.as_str().into(),
            hostnames: hosts.map(|names| interner.texts(names)),
        }))
    }
}

impl Mirrored for wire::Attachment {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        let volume = self.spec.source.persistent_volume_name;
        Fact::Attachment(Arc::new(Attachment {
            name: self.metadata.name.as_str().into(),
            node: interner.text(&self.spec.node_name),
            volume: (!volume.is_empty()).then(|| volume.into()),
            attached: self.status.attached,
        }))
    }
}

impl Mirrored for wire::Lease {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn fact(self, _: Kind, interner: &mut Interner) -> Fact {
        Fact::Lease(Arc::new(Lease {
            key: ObjectKey::new(
                interner.text(&self.metadata.namespace),
                interner.text(&self.metadata.name),
            ),
            version: version(&self.metadata),
            holder: some(&self.spec.holder_identity, interner),
            renewed: self.spec.renew_time,
            seconds: self.spec.lease_duration_seconds,
        }))
    }
}
