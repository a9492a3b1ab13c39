//! Pods as they are read.

use std::collections::BTreeSet;

use model::{Labels, Text, Toleration, TolerationOperator, marks};

use crate::facts::{
    ClaimUse, Controller, Disk, Force, HostPort, Pod, Rules, Spread, Standing, Template, Term, Whom,
};
use crate::read::{Reader, effect};
use crate::selector::{NodeTerm, equals, label_selector, node_terms};
use crate::wire::{self, each};
use crate::{quantity, requests};

/// Adds a pod that counts on its node: bound and not finished.
pub(crate) fn add(reader: &mut Reader, object: &wire::Pod) {
    let phase = object.status.as_ref().and_then(|s| s.phase.as_deref());
    let node = object
        .spec
        .node_name
        .as_deref()
        .filter(|name| !name.is_empty());
    let Some(node) = node.filter(|_| !matches!(phase, Some("Succeeded" | "Failed"))) else {
        return;
    };
    let standing = standing(&object.metadata);
    let template = template(reader, object, standing == Standing::Moves);
    let own = template.shape;
    let usage = match &object.status {
        Some(status) if is_resized(status) => {
            let shape = requests::shape(&object.spec, Some(status), &mut reader.cluster.scalars);
            reader.cluster.shapes.id(shape)
        }
        _ => own,
    };
    let pod = Pod {
        name: object.metadata.name.as_str().into(),
        node: 0,
        template: reader.cluster.templates.id(template),
        usage,
        standing,
        claims: claims(reader, object),
    };
    let node = reader.word(node);
    reader.pods.push((node, pod));
}

fn is_resized(status: &wire::PodStatus) -> bool {
    each(&status.container_statuses)
        .chain(each(&status.init_container_statuses))
        .any(|one| one.resources.is_some())
}

/// Rules: kubectl drain's filters, and that eviction leaves pods on their way out alone.
fn standing(meta: &wire::Meta) -> Standing {
    let mirror = meta
        .annotations
        .as_ref()
        .is_some_and(|a| a.contains_key(marks::MIRROR_POD));
    let owner = each(&meta.owner_references).find(|owner| owner.controller == Some(true));
    match owner {
        _ if mirror => Standing::Stays,
        Some(owner) if matches!(&*owner.kind, "DaemonSet" | "Node") => Standing::Stays,
        _ if meta.deletion_timestamp.is_some() => Standing::Leaves,
        Some(_) => Standing::Moves,
        None => Standing::Alone,
    }
}

/// The template of a pod; where it is never placed again, only what others see of it.
fn template(reader: &mut Reader, object: &wire::Pod, moves: bool) -> Template {
    let (meta, spec) = (&object.metadata, &object.spec);
    let namespace = reader.namespace(meta);
    let labels = reader.labels(&meta.labels);
    let shape = requests::shape(spec, None, &mut reader.cluster.scalars);
    let owner = each(&meta.owner_references).find(|owner| owner.controller == Some(true));
    let rules = if moves {
        rules(reader, spec)
    } else {
        Rules::default()
    };
    let (images, image_volumes) = if moves {
        images(reader, spec)
    } else {
        (Vec::new(), 0)
    };
    let spread = if moves {
        spread(reader, spec, &labels)
    } else {
        Vec::new()
    };
    Template {
        controller: owner.filter(|_| moves).map(|owner| Controller {
            kind: reader.word(&owner.kind),
            name: reader.word(&owner.name),
        }),
        priority: spec.priority.unwrap_or(0),
        preempts: spec.preemption_policy.as_deref() != Some("Never"),
        shape: reader.cluster.shapes.id(shape),
        rules: reader.cluster.rules.id(rules),
        spread,
        terms: terms(reader, spec, &namespace),
        ports: ports(reader, spec),
        disks: each(&spec.volumes).filter_map(disk).collect(),
        images,
        image_volumes,
        namespace,
        labels,
    }
}

fn rules(reader: &mut Reader, spec: &wire::PodSpec) -> Rules {
    let tolerations = each(&spec.tolerations)
        .filter_map(|toleration| {
            let named = toleration.effect.as_deref().filter(|name| !name.is_empty());
            let operator = match toleration.operator.as_deref() {
                Some("Exists") => TolerationOperator::Exists,
                None | Some("Equal" | "") => TolerationOperator::Equal,
                // Operators of a gate that is off tolerate nothing.
                Some(_) => return None,
            };
            Some(Toleration {
                key: reader.word(toleration.key.as_deref().unwrap_or_default()),
                operator,
                value: reader.word(toleration.value.as_deref().unwrap_or_default()),
                effect: match named {
                    Some(name) => Some(effect(name)?),
                    None => None,
                },
            })
        })
        .collect();
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| {
        a.required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let preferred = affinity.map(|a| each(&a.preferred_during_scheduling_ignored_during_execution));
    Rules {
        tolerations,
        node_labels: spec
            .node_selector
            .iter()
            .flatten()
            .map(|(key, value)| (reader.word(key), reader.word(value)))
            .collect(),
        required: required.map(node_terms),
        preferred: preferred
            .into_iter()
            .flatten()
            .map(|term| (i64::from(term.weight), NodeTerm::of(&term.preference)))
            .collect(),
    }
}

fn images(reader: &mut Reader, spec: &wire::PodSpec) -> (Vec<Text>, usize) {
    let containers = each(&spec.init_containers).chain(each(&spec.containers));
    let names = containers.map(|container| container.image.as_deref().unwrap_or_default());
    let volumes = each(&spec.volumes).filter_map(|volume| volume.image.as_ref());
    let volumes = volumes.map(|image| image.reference.as_deref().unwrap_or_default());
    let of_volumes = volumes.clone().count();
    let images = names
        .chain(volumes)
        .map(|name| reader.word(&tagged(name)))
        .collect();
    (images, of_volumes)
}

/// Rule: plugin ImageLocality, `normalizedImageName` (v1.36).
fn tagged(name: &str) -> String {
    if name.rfind(':') <= name.rfind('/') {
        format!("{name}:latest")
    } else {
        name.to_owned()
    }
}

fn spread(reader: &mut Reader, spec: &wire::PodSpec, labels: &Labels) -> Vec<Spread> {
    each(&spec.topology_spread_constraints)
        .map(|constraint| {
            let mut selector = label_selector(constraint.label_selector.as_ref());
            for key in each(&constraint.match_label_keys) {
                if let (Some(selector), Some(value)) = (&mut selector, labels.get(key)) {
                    selector.requirements.push(equals(key, value));
                }
            }
            Spread {
                key: reader.word(&constraint.topology_key),
                max_skew: constraint.max_skew.into(),
                min_domains: constraint.min_domains.unwrap_or(1).into(),
                hard: constraint.when_unsatisfiable == "DoNotSchedule",
                selector,
                honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
                honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
            }
        })
        .collect()
}

/// `matchLabelKeys` and `mismatchLabelKeys` of pod affinity are written into the selector by the API server when the pod
/// is made (since v1.33), so that running pods show them there.
fn terms(reader: &mut Reader, spec: &wire::PodSpec, namespace: &Text) -> Vec<Term> {
    let Some(affinity) = &spec.affinity else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (group, anti) in [
        (&affinity.pod_affinity, false),
        (&affinity.pod_anti_affinity, true),
    ] {
        let Some(group) = group else { continue };
        let required = each(&group.required_during_scheduling_ignored_during_execution);
        let preferred = each(&group.preferred_during_scheduling_ignored_during_execution);
        let all = required.map(|term| (Force::Required, term)).chain(
            preferred.map(|one| (Force::Preferred(one.weight.into()), &one.pod_affinity_term)),
        );
        for (force, term) in all {
            found.push(Term {
                whom: whom(reader, term, namespace),
                key: reader.word(&term.topology_key),
                anti,
                force,
            });
        }
    }
    found
}

/// Rule: kube-scheduler framework `newAffinityTerm` and `getNamespacesFromPodAffinityTerm` (v1.36).
fn whom(reader: &mut Reader, term: &wire::PodTerm, namespace: &Text) -> Whom {
    let mut namespaces: BTreeSet<Text> = reader.words(&term.namespaces).into_iter().collect();
    if namespaces.is_empty() && term.namespace_selector.is_none() {
        namespaces.insert(namespace.clone());
    }
    Whom {
        namespaces,
        namespace_selector: label_selector(term.namespace_selector.as_ref()),
        selector: label_selector(term.label_selector.as_ref()),
    }
}

fn ports(reader: &mut Reader, spec: &wire::PodSpec) -> Vec<HostPort> {
    // Sidecars hold their ports as long as the pod lives; other init containers' ports are not looked at.
    let sidecars = each(&spec.init_containers)
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let containers = each(&spec.containers).chain(sidecars);
    containers
        .flat_map(|container| each(&container.ports))
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let named = |text: &Option<String>, default| match text.as_deref() {
                None | Some("") => default,
                Some(text) => text.to_owned(),
            };
            Some(HostPort {
                port: number,
                protocol: reader.word(&named(&port.protocol, "TCP".to_owned())),
                address: reader.word(&named(&port.host_ip, "0.0.0.0".to_owned())),
            })
        })
        .collect()
}

fn disk(volume: &wire::PodVolume) -> Option<Disk> {
    if let Some(gce) = &volume.gce_persistent_disk {
        let read_only = gce.read_only.unwrap_or(false);
        return Some(Disk::Gce {
            name: gce.pd_name.as_str().into(),
            read_only,
        });
    }
    if let Some(aws) = &volume.aws_elastic_block_store {
        return Some(Disk::Aws {
            id: aws.volume_id.as_str().into(),
        });
    }
    if let Some(iscsi) = &volume.iscsi {
        let read_only = iscsi.read_only.unwrap_or(false);
        return Some(Disk::Iscsi {
            iqn: iscsi.iqn.as_str().into(),
            read_only,
        });
    }
    let rbd = volume.rbd.as_ref()?;
    Some(Disk::Rbd {
        monitors: each(&rbd.monitors)
            .map(|name| name.as_str().into())
            .collect(),
        // The API server's default.
        pool: rbd.pool.as_deref().unwrap_or("rbd").into(),
        image: rbd.image.as_str().into(),
        read_only: rbd.read_only.unwrap_or(false),
    })
}

fn claims(reader: &mut Reader, object: &wire::Pod) -> Box<[ClaimUse]> {
    let volumes = each(&object.spec.volumes);
    volumes
        .filter_map(|volume| {
            if let Some(source) = &volume.persistent_volume_claim {
                return Some(ClaimUse::Named(reader.word(&source.claim_name)));
            }
            let spec = &volume
                .ephemeral
                .as_ref()?
                .volume_claim_template
                .as_ref()?
                .spec;
            let requests = spec
                .resources
                .as_ref()
                .and_then(|own| own.requests.as_ref());
            Some(ClaimUse::Fresh {
                class: spec
                    .storage_class_name
                    .as_deref()
                    .map(|name| reader.word(name)),
                size: requests
                    .and_then(|requests| quantity::value(requests.get("storage")?))
                    .unwrap_or(0),
            })
        })
        .collect()
}
