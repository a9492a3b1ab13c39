//! Waiting for a state of the world, and putting it there.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `look` answers `Ok(Ok(value))`; gives up after `patience`.
///
/// `look` answers `Ok(Err(seen))` when it is not so yet, with what it saw instead: the error shows the last of it.
/// An `Err(error)` counts as not yet, too, since an API server may be down for a while. Level-triggered: what counts
/// is what is, not what has happened.
///
/// ```no_run
/// # async fn example(pods: kube::Api<k8s_openapi::api::core::v1::Pod>) -> anyhow::Result<()> {
/// use std::time::Duration;
/// testkit::wait_until(Duration::from_secs(30), "no pod is left", async || {
///     let left = pods.list(&Default::default()).await?.items.len();
///     Ok(if left == 0 { Ok(()) } else { Err(left) })
/// })
/// .await
/// # }
/// ```
pub async fn wait_until<T, Seen: Debug>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Result<T, Seen>>,
) -> Result<T> {
    let start = Instant::now();
    let mut last = "nothing".to_owned();
    loop {
        let left = patience.saturating_sub(start.elapsed());
        match tokio::time::timeout(left.max(PAUSE), look()).await {
            Ok(Ok(Ok(value))) => return Ok(value),
            Ok(Ok(Err(seen))) => last = format!("{seen:?}"),
            Ok(Err(error)) => last = format!("error: {error:#}"),
            Err(_) => last = format!("a look that does not end, before it {last}"),
        }
        if start.elapsed() >= patience {
            bail!("waited {patience:?} in vain until {what}; last seen: {last}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Server-side applies objects, in order. Namespaces among them are waited for until pods can be created in them.
pub async fn apply(client: &Client, objects: &[Value]) -> Result<()> {
    for object in objects {
        let (api, name) = api_of(client, object)?;
        let params = PatchParams::apply("testkit").force();
        api.patch(&name, &params, &Patch::Apply(object))
            .await
            .with_context(|| format!("apply {} {name}", object["kind"]))?;
        if object["kind"] == "Namespace" {
            let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
                Api::namespaced(client.clone(), &name);
            wait_until(
                Duration::from_secs(60),
                &format!("namespace {name} has its ServiceAccount"),
                async || Ok(accounts.get_opt("default").await?.map(drop).ok_or("none")),
            )
            .await?;
        }
    }
    Ok(())
}

/// Deletes objects; one that is not there is fine.
pub async fn delete(client: &Client, objects: &[Value]) -> Result<()> {
    for object in objects {
        let (api, name) = api_of(client, object)?;
        match api.delete(&name, &DeleteParams::background()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            answer => drop(answer.with_context(|| format!("delete {} {name}", object["kind"]))?),
        }
    }
    Ok(())
}

fn api_of(client: &Client, object: &Value) -> Result<(Api<DynamicObject>, String)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let kind = text(&object["kind"]).context("an object without kind")?;
    let version = text(&object["apiVersion"]).context("an object without apiVersion")?;
    let name = text(&object["metadata"]["name"]).context("an object without name")?;
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
    let api = match text(&object["metadata"]["namespace"]) {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    Ok((api, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_error_names_what_was_awaited_and_what_was_seen() {
        let error = wait_until::<(), _>(Duration::from_millis(50), "pigs fly", async || {
            Ok(Err("pigs on the ground"))
        })
        .await
        .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("until pigs fly") && text.contains("pigs on the ground"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn errors_are_looked_through() {
        let mut looks = 0;
        let value = wait_until::<_, ()>(Duration::from_secs(5), "the third look", async || {
            looks += 1;
            if looks < 3 {
                bail!("not yet")
            } else {
                Ok(Ok(looks))
            }
        })
        .await;
        assert_eq!(value.unwrap(), 3);
    }
}
