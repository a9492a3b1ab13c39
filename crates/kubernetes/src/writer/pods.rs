use model::EvictAnswer;
use model::{ObjectKey, ResourceVersion, Uid};
use serde_json::{Value, json};

use super::{Writer, pod_path};

impl Writer {
    /// Evicts a pod through its budgets: POST of a `policy/v1` Eviction (v1beta1 before 1.22), never `kube::Api::evict`,
    /// which loses the options (`knowledge/rust.md` §0, fact 1).
    ///
    /// Preconditions: the pod still has this UID and, when known, this version; else `Changed`. `grace` is
    /// `gracePeriodSeconds`, the pod's own when `None`. A dry run asks the same questions of budgets and admission and
    /// changes nothing.
    pub async fn evict(
        &self,
        key: &ObjectKey,
        uid: &Uid,
        version: ResourceVersion,
        grace: Option<u32>,
        dry_run: bool,
    ) -> EvictAnswer {
        let eviction = json!({
            "apiVersion": if self.old_eviction { "policy/v1beta1" } else { "policy/v1" },
            "kind": "Eviction",
            "metadata": {"name": &*key.name, "namespace": &*key.namespace},
            "deleteOptions": delete_options(uid, version, grace),
        });
        let path = format!(
            "{}/eviction{}",
            pod_path(key),
            if dry_run { "?dryRun=All" } else { "" }
        );
        answer(self.post(&path, &eviction).await.map(drop))
    }

    /// Deletes a pod, past its budgets.
    ///
    /// Preconditions: as for [`Writer::evict`]. With grace 0 the object goes at once, whether or not its containers ended.
    pub async fn delete_pod(
        &self,
        key: &ObjectKey,
        uid: &Uid,
        version: ResourceVersion,
        grace: Option<u32>,
        dry_run: bool,
    ) -> EvictAnswer {
        let mut options = delete_options(uid, version, grace);
        options["apiVersion"] = "v1".into();
        options["kind"] = "DeleteOptions".into();
        if dry_run {
            options["dryRun"] = json!(["All"]);
        }
        answer(self.delete(&pod_path(key), &options).await.map(drop))
    }
}

fn delete_options(uid: &Uid, version: ResourceVersion, grace: Option<u32>) -> Value {
    let mut options = json!({"preconditions": {"uid": uid.as_str()}});
    if let Some(version) = version.precondition() {
        options["preconditions"]["resourceVersion"] = version.into();
    }
    if let Some(grace) = grace {
        options["gracePeriodSeconds"] = grace.into();
    }
    options
}

fn answer(result: model::WriteAnswer) -> EvictAnswer {
    match result {
        Ok(()) => EvictAnswer::Accepted,
        Err(refusal) => EvictAnswer::Refused { refusal },
    }
}
