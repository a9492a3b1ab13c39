use anyhow::{Result, ensure};
use model::{EvictAnswer, Refusal};
use model::{ObjectKey, ResourceVersion};
use testkit::builders::{self, Allows, Template};
use testkit::{Component, FakeNode, apply, wait_until};

use crate::*;

fn refusal(answer: EvictAnswer) -> Refusal {
    match answer {
        EvictAnswer::Refused { refusal } => refusal,
        EvictAnswer::Accepted => panic!("it was accepted"),
    }
}

fn version(object: &Value) -> ResourceVersion {
    ResourceVersion::parse(object["metadata"]["resourceVersion"].as_str().unwrap())
}

const NONE: ResourceVersion = ResourceVersion(0);

#[tokio::test]
async fn evictions_and_deletions_hit_only_the_pod_that_was_planned() -> Result<()> {
    let plane = plane().await?;
    let cluster = admin(&plane).await?;
    let writer = writer(&cluster);
    let client = plane.client().await?;
    let kubelets = plane.kubelets(FakeNode::fleet(1)).await?;
    let long = |name: &str| {
        Template::new(name)
            .finalizer("refloat.dev/test")
            .pod("shop", name)
    };
    apply(
        &client,
        &[builders::namespace("shop"), long("a"), long("b"), long("c")],
    )
    .await?;
    let [a, b, c] = ["a", "b", "c"].map(|name| ObjectKey::new("shop", name));
    let [pod_a, pod_b, pod_c] = [
        wait_running(&cluster, &a).await?,
        wait_running(&cluster, &b).await?,
        wait_running(&cluster, &c).await?,
    ];

    // Another UID, another version: Changed, and the pod is as it was.
    let wrong = writer.evict(&a, &"other".into(), NONE, None, false).await;
    ensure!(
        matches!(refusal(wrong.clone()), Refusal::Changed { .. }),
        "{wrong:?}"
    );
    let stale = ResourceVersion(version(&pod_a).0 - 1);
    let old = writer.evict(&a, &uid(&pod_a), stale, None, false).await;
    ensure!(
        matches!(refusal(old.clone()), Refusal::Changed { .. }),
        "{old:?}"
    );
    let wrong = writer
        .delete_pod(&a, &"other".into(), NONE, Some(0), false)
        .await;
    ensure!(
        matches!(refusal(wrong.clone()), Refusal::Changed { .. }),
        "{wrong:?}"
    );
    // A dry run changes nothing.
    ensure!(
        writer
            .evict(&a, &uid(&pod_a), version(&pod_a), None, true)
            .await
            == EvictAnswer::Accepted
    );
    ensure!(writer.delete_pod(&a, &uid(&pod_a), NONE, None, true).await == EvictAnswer::Accepted);
    let untouched = pod(&cluster, &a).await?;
    ensure!(untouched.as_ref() == Some(&pod_a), "{untouched:?}");

    // Accepted with UID and version, and the grace is the one asked for.
    let evicted = writer
        .evict(&a, &uid(&pod_a), version(&pod_a), Some(7), false)
        .await;
    ensure!(evicted == EvictAnswer::Accepted, "{evicted:?}");
    let going = pod(&cluster, &a).await?.unwrap();
    ensure!(
        going["metadata"]["deletionGracePeriodSeconds"] == 7,
        "{going}"
    );
    let evicted = writer.evict(&b, &uid(&pod_b), NONE, None, false).await;
    ensure!(evicted == EvictAnswer::Accepted, "{evicted:?}");
    let deleted = writer
        .delete_pod(&c, &uid(&pod_c), version(&pod_c), Some(3), false)
        .await;
    ensure!(deleted == EvictAnswer::Accepted, "{deleted:?}");
    let going = pod(&cluster, &c).await?.unwrap();
    ensure!(
        going["metadata"]["deletionGracePeriodSeconds"] == 3,
        "{going}"
    );
    // What is not there.
    let none = ObjectKey::new("shop", "none");
    ensure!(refusal(writer.evict(&none, &"u".into(), NONE, None, false).await) == Refusal::Gone);
    ensure!(
        refusal(
            writer
                .delete_pod(&none, &"u".into(), NONE, None, false)
                .await
        ) == Refusal::Gone
    );
    drop(kubelets);
    Ok(())
}

#[tokio::test]
async fn budgets_admission_and_rights_are_told_apart() -> Result<()> {
    let plane = plane().await?;
    let cluster = admin(&plane).await?;
    let writer = writer(&cluster);
    let client = plane.client().await?;
    let _kubelets = plane.kubelets(FakeNode::fleet(1)).await?;
    let pod_of = |app: &str, name: &str| Template::new(app).label("pair", app).pod("shop", name);
    let policy = serde_json::json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "pub"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["pods/eviction"]}]},
            "validations": [{"expression": "object.metadata.name != 'vetoed'",
                "message": "pub unavailable allowed is negative"}],
        },
    });
    let binding = serde_json::json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "pub"}, "spec": {"policyName": "pub", "validationActions": ["Deny"]},
    });
    let webhook = serde_json::json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "broken"},
        "webhooks": [{"name": "broken.refloat.dev", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 1, "failurePolicy": "Fail",
            "clientConfig": {"url": "https://127.0.0.1:1/", "caBundle": ""},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["pods/eviction"]}],
            "matchConditions": [{"name": "one", "expression": "object.metadata.name == 'hooked'"}]}],
    });
    apply(
        &client,
        &[
            builders::namespace("shop"),
            pod_of("full", "full"),
            pod_of("two", "two"),
            pod_of("free", "vetoed"),
            pod_of("free", "hooked"),
            builders::pdb("shop", "b-full", "full", Allows::MinAvailable("1")),
            builders::pdb("shop", "b-two", "two", Allows::MinAvailable("0")),
            builders::pdb("shop", "b-two-too", "two", Allows::MinAvailable("0")),
            policy,
            binding,
            webhook,
        ],
    )
    .await?;
    let key = |name: &str| ObjectKey::new("shop", name);
    let full = uid(&wait_running(&cluster, &key("full")).await?);
    let two = uid(&wait_running(&cluster, &key("two")).await?);
    let vetoed = uid(&wait_running(&cluster, &key("vetoed")).await?);
    let hooked = uid(&wait_running(&cluster, &key("hooked")).await?);
    let evict = async |name: &str, uid: &Uid, dry_run| {
        refusal(writer.evict(&key(name), uid, NONE, None, dry_run).await)
    };

    // No room, dry or not, with the budget's name and numbers in the server's words; until then its status lags.
    for dry_run in [true, false] {
        let seen = wait_until(PATIENCE, "the budget refuses", async || {
            Ok(match evict("full", &full, dry_run).await {
                Refusal::Budget { budget, message } => Ok((budget, message)),
                other => Err(other),
            })
        })
        .await?;
        ensure!(seen.0.as_deref() == Some("b-full"), "{seen:?}");
        ensure!(
            &*seen.1 == "The disruption budget b-full needs 1 healthy pods and has 1 currently",
            "{seen:?}"
        );
    }
    let refused = evict("two", &two, false).await;
    ensure!(matches!(refused, Refusal::TwoBudgets { .. }), "{refused:?}");

    let vetoed = wait_until(PATIENCE, "the policy is in force", async || {
        // Dry: before the policy is in force the eviction would be accepted.
        Ok(
            match writer
                .evict(&key("vetoed"), &vetoed, NONE, None, true)
                .await
            {
                EvictAnswer::Refused { refusal } => Ok(refusal),
                accepted => Err(accepted),
            },
        )
    })
    .await?;
    ensure!(
        matches!(&vetoed, Refusal::Denied { by, message } if &**by == "pub"
            && message.contains("pub unavailable allowed is negative")),
        "{vetoed:?}"
    );
    let hooked = wait_until(PATIENCE, "the webhook is in force", async || {
        Ok(
            match writer
                .evict(&key("hooked"), &hooked, NONE, None, true)
                .await
            {
                EvictAnswer::Refused { refusal } => Ok(refusal),
                accepted => Err(accepted),
            },
        )
    })
    .await?;
    ensure!(
        matches!(&hooked, Refusal::Unavailable { message } if message.contains("broken.refloat.dev")),
        "{hooked:?}"
    );

    // A budget that was just edited while its controller does nothing.
    plane.pause(Component::ControllerManager);
    apply(
        &client,
        &[builders::pdb(
            "shop",
            "b-full",
            "full",
            Allows::MinAvailable("0"),
        )],
    )
    .await?;
    let lags = evict("full", &full, false).await;
    plane.resume(Component::ControllerManager);
    ensure!(
        matches!(
            lags,
            Refusal::BudgetLags {
                retry_after_seconds: 10,
                ..
            }
        ),
        "{lags:?}"
    );

    // Alice may do nothing here, whoever asks for her.
    for alice in [
        cluster.with_token("alice-token")?,
        cluster.acting_as("alice", &[], &std::collections::BTreeMap::new())?,
    ] {
        let refused = refusal(
            crate::writer(&alice)
                .evict(&key("full"), &full, NONE, None, false)
                .await,
        );
        ensure!(
            matches!(&refused, Refusal::Forbidden { message } if message.contains("alice")
                && message.contains("pods/eviction")),
            "{refused:?}"
        );
    }
    let expired = cluster.with_token("no-such-token")?;
    let refused = refusal(
        crate::writer(&expired)
            .evict(&key("full"), &full, NONE, None, false)
            .await,
    );
    ensure!(
        matches!(refused, Refusal::Unauthorized { .. }),
        "{refused:?}"
    );

    // Nobody answers: no verdict, and in time.
    plane.kill_apiserver();
    let refused = evict("full", &full, false).await;
    ensure!(
        matches!(refused, Refusal::Unavailable { .. }),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_handover_begins_and_is_undone() -> Result<()> {
    let plane = plane().await?;
    let cluster = admin(&plane).await?;
    let writer = writer(&cluster);
    let client = plane.client().await?;
    let _kubelets = plane.kubelets(FakeNode::fleet(2)).await?;
    apply(
        &client,
        &[
            builders::namespace("shop"),
            builders::deployment("shop", "web", 1),
        ],
    )
    .await?;
    let mirror = synced(&cluster, &MirrorOptions::default()).await?;
    until(&mirror, "web is ready", |snapshot| {
        snapshot.pods().iter().any(|pod| pod.is_ready())
    })
    .await?;
    let seen = mirror
        .latest()
        .unwrap()
        .pods()
        .in_namespace("shop")
        .next()
        .unwrap()
        .clone();
    let hash = seen.labels.get("pod-template-hash").unwrap().to_owned();
    let operation = "op1".into();

    let stale = ResourceVersion(seen.version.0 - 1);
    let refused = writer
        .begin_handover(&seen.key, &seen.uid, stale, &operation, &hash)
        .await;
    ensure!(
        matches!(refused, Err(Refusal::Changed { .. })),
        "{refused:?}"
    );
    let refused = writer
        .begin_handover(&seen.key, &"other".into(), seen.version, &operation, &hash)
        .await;
    ensure!(
        matches!(refused, Err(Refusal::Changed { .. })),
        "{refused:?}"
    );
    let untouched = pod(&cluster, &seen.key).await?.unwrap();
    ensure!(
        untouched["metadata"]["labels"]["pod-template-hash"] == *hash,
        "{untouched}"
    );

    // The mirror may be a version behind; take the newest.
    let version = version(&untouched);
    writer
        .begin_handover(&seen.key, &seen.uid, version, &operation, &hash)
        .await
        .unwrap();
    until(
        &mirror,
        "the old pod is on its own beside a ready new one",
        |snapshot| {
            let old = snapshot.pod(&seen.key);
            let new = snapshot
                .pods()
                .in_namespace("shop")
                .any(|pod| pod.uid != seen.uid && pod.is_ready());
            old.is_some_and(|old| {
                old.owner.is_none()
                    && old.annotations.get(model::marks::HANDOVER) == Some("op1")
                    && old.annotations.get(model::marks::HANDOVER_HASH) == Some(&hash)
            }) && new
        },
    )
    .await?;

    let other = writer
        .undo_handover(&seen.key, &seen.uid, &"op2".into(), &hash)
        .await;
    ensure!(
        matches!(&other, Err(Refusal::Claimed { holder, .. }) if &**holder == "op1"),
        "{other:?}"
    );
    writer
        .undo_handover(&seen.key, &seen.uid, &operation, &hash)
        .await
        .unwrap();
    until(&mirror, "one pod of web is left", |snapshot| {
        snapshot
            .pods()
            .in_namespace("shop")
            .filter(|pod| pod.owner.is_some() && !pod.is_terminating())
            .count()
            == 1
    })
    .await?;
    // Undone already, or gone: nothing to do.
    let again = writer
        .undo_handover(&seen.key, &seen.uid, &operation, &hash)
        .await;
    ensure!(matches!(again, Ok(()) | Err(Refusal::Gone)), "{again:?}");
    Ok(())
}
