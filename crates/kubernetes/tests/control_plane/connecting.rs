use anyhow::{Result, ensure};
use kubernetes::{Access, ConnectError};
use serde_json::json;

use crate::*;

#[tokio::test]
async fn who_we_are_and_what_is_wrong() -> Result<()> {
    let plane = plane().await?;
    let cluster = admin(&plane).await?;
    ensure!(
        cluster.id_is_proven() && !cluster.version.is_older_than(1, 36),
        "{:?}",
        cluster.version
    );
    ensure!(&*cluster.server == plane.server_url(), "{}", cluster.server);
    let namespace = get(&cluster, "/api/v1/namespaces/kube-system")
        .await?
        .unwrap();
    ensure!(cluster.id.as_str() == uid(&namespace).as_str());

    // The same cluster for somebody without rights, but not proven.
    let alice = connect(&plane.kubeconfig_for_token("alice-token")?).await?;
    ensure!(
        !alice.id_is_proven() && alice.id.as_str().starts_with("unproven-"),
        "{}",
        alice.id
    );
    ensure!(alice.whoami().await.unwrap().user == "alice");
    let acting = cluster.acting_as(
        "bob",
        &["ops".to_owned()],
        &std::collections::BTreeMap::new(),
    )?;
    let bob = acting.whoami().await.unwrap();
    ensure!(
        bob.user == "bob" && bob.groups.contains(&"ops".to_owned()),
        "{bob:?}"
    );
    ensure!(
        cluster
            .with_token("carol-token")?
            .whoami()
            .await
            .unwrap()
            .user
            == "carol"
    );
    // An impersonation is replaced, not added to; a token stands alone.
    let carol = acting
        .acting_as("carol", &[], &std::collections::BTreeMap::new())?
        .whoami()
        .await
        .unwrap();
    ensure!(
        carol.user == "carol" && !carol.groups.contains(&"ops".to_owned()),
        "{carol:?}"
    );
    ensure!(
        acting
            .with_token("alice-token")?
            .whoami()
            .await
            .unwrap()
            .user
            == "alice"
    );

    let reviewed = cluster.token_review("alice-token").await.unwrap();
    ensure!(
        reviewed
            .as_ref()
            .is_some_and(|identity| identity.user == "alice"),
        "{reviewed:?}"
    );
    ensure!(cluster.token_review("nonsense").await.unwrap().is_none());
    let evict = Access {
        verb: "create",
        resource: "pods",
        subresource: "eviction",
        namespace: "default",
        ..Access::default()
    };
    ensure!(cluster.may(None, &evict).await.unwrap());
    ensure!(!cluster.may(reviewed.as_ref(), &evict).await.unwrap());
    ensure!(!alice.may(None, &evict).await.unwrap());

    // Somebody the server does not know.
    let connect = |kubeconfig: &std::path::Path| Connect {
        kubeconfig: Some(kubeconfig.to_owned()),
        ..Connect::default()
    };
    let expired = Cluster::connect(&connect(&plane.kubeconfig_for_token("expired")?)).await;
    ensure!(
        matches!(&expired, Err(ConnectError::Unauthorized { .. })),
        "{expired:?}"
    );
    let replaced = Connect {
        token: Some("alice-token".to_owned()),
        ..connect(&plane.kubeconfig_for_token("expired")?)
    };
    ensure!(
        Cluster::connect(&replaced)
            .await?
            .whoami()
            .await
            .unwrap()
            .user
            == "alice"
    );
    let imitating = Connect {
        impersonate_user: Some("bob".to_owned()),
        ..connect(plane.kubeconfig())
    };
    let imitating = Cluster::connect(&imitating).await?;
    ensure!(&*imitating.user == "bob" && imitating.whoami().await.unwrap().user == "bob");

    // The right server behind another CA.
    let folder = tempfile::tempdir()?;
    let other = folder.path().join("config");
    let ca = rcgen::generate_simple_self_signed(vec!["other".to_owned()])?
        .cert
        .pem();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, ca)?;
    let config = json!({"current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": plane.server_url(), "certificate-authority": ca_file}}]});
    std::fs::write(&other, config.to_string())?;
    let untrusted = Cluster::connect(&connect(&other)).await;
    ensure!(
        matches!(&untrusted, Err(ConnectError::Tls { .. })),
        "{untrusted:?}"
    );

    plane.kill_apiserver();
    let gone = Cluster::connect(&connect(plane.kubeconfig())).await;
    ensure!(
        matches!(&gone, Err(ConnectError::Unreachable { server, .. }) if server == plane.server_url()),
        "{gone:?}"
    );
    Ok(())
}
