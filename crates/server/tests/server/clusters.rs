//! Several clusters, those out of reach, and what is refused at the start.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use kubernetes::Connect;
use serde_json::{Value, json};
use server::{Server, ServerError, ServerOptions, TlsFiles, all_contexts};
use tokio::net::{TcpSocket, TcpStream};

use crate::world::{PATIENCE, Served, failed, token, world};

#[tokio::test(flavor = "multi_thread")]
async fn one_cluster_under_two_names_is_refused_naming_both() -> Result<()> {
    let world = world().await;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("kubeconfig");
    std::fs::copy(world.connect().kubeconfig.context("a file")?, &path)?;
    let kubectl = |args: &[&str]| -> Result<String> {
        let output = Command::new(world.plane.kubectl())
            .arg("--kubeconfig")
            .arg(&path)
            .args(args)
            .output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    };
    let cluster = kubectl(&[
        "config",
        "view",
        "-o",
        "jsonpath={.contexts[0].context.cluster}",
    ])?;
    let user = kubectl(&[
        "config",
        "view",
        "-o",
        "jsonpath={.contexts[0].context.user}",
    ])?;
    kubectl(&[
        "config",
        "set-context",
        "second",
        "--cluster",
        &cluster,
        "--user",
        &user,
    ])?;
    let base = Connect {
        kubeconfig: Some(path),
        ..Connect::default()
    };
    let connects = all_contexts(&base)?;
    assert_eq!(connects.len(), 2);
    let first = connects[0].context.clone().context("a context")?;
    let options = ServerOptions {
        clusters: connects,
        ..world.options(folder.path())
    };
    let mut served = Served::start(options.clone()).await?;
    let error = served.ended().await?.unwrap_err();
    assert_eq!(error.code(), "same_cluster");
    let text = error.to_string();
    assert!(text.contains(&first) && text.contains("second"), "{text}");

    let mut options = options;
    options.clusters.truncate(1);
    options.clusters[0].context = Some("third".to_owned());
    let error = Served::start(options).await?.ended().await?.unwrap_err();
    assert_eq!(
        (error.code(), error.params()["cluster"].as_str()),
        ("context_unknown", Some("third"))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_out_of_reach_is_shown_and_holds_up_no_other() -> Result<()> {
    let world = world().await;
    let folder = tempfile::tempdir()?;
    let mut options = world.options(folder.path());
    options.clusters.push(Connect {
        // Port 1 of loopback: refused at once.
        server: Some("https://127.0.0.1:1".to_owned()),
        ..world.connect()
    });
    let served = Served::ready(options).await?;
    let (status, clusters) = served.read("/api/v1/clusters", "boss").await?;
    assert_eq!(status, 200);
    let clusters = clusters.as_array().context("a list")?;
    let far = clusters
        .iter()
        .find(|cluster| cluster["name"] == "https://127.0.0.1:1")
        .context("far")?;
    assert_eq!(
        (&far["synced"], &far["trouble"]),
        (&json!(false), &json!("server_unreachable"))
    );
    assert!(clusters.iter().any(|cluster| cluster["synced"] == true));
    let path = "/api/v1/clusters/https%3A%2F%2F127.0.0.1%3A1/nodes";
    failed(
        served.get(path, Some(&token("boss"))).await?,
        503,
        "cluster_unreachable",
    )
    .await?;
    failed(
        served.get(path, Some("invented")).await?,
        401,
        "token_invalid",
    )
    .await?;
    let ready: Value = served.get("/readyz", None).await?.json().await?;
    assert_eq!(
        ready["clusters"][1]["trouble"], "server_unreachable",
        "{ready}"
    );
    served.stop().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_comes_back_is_taken_in() -> Result<()> {
    let world = world().await;
    let folder = tempfile::tempdir()?;
    // Bound all the time, so that nobody else gets the port, and refusing until it listens.
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = socket.local_addr()?;
    let mut options = world.options(folder.path());
    options.clusters[0].server = Some(format!("https://{address}"));
    let served = Served::start(options).await?;
    testkit::wait_until(
        PATIENCE,
        "the server knows that it reaches nothing",
        async || {
            let text = served.get("/readyz", None).await?.text().await?;
            Ok(if text.contains("server_unreachable") {
                Ok(())
            } else {
                Err(text)
            })
        },
    )
    .await?;
    let answer = served.get("/api/v1/clusters", Some(&token("boss"))).await?;
    failed(answer, 503, "cluster_unreachable").await?;

    let target = world
        .plane
        .server_url()
        .trim_start_matches("https://")
        .to_owned();
    let listener = socket.listen(64)?;
    let proxy = tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let target = target.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(target).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    testkit::wait_until(PATIENCE, "the server is ready", async || {
        let answer = served.get("/readyz", None).await?;
        Ok(if answer.status() == 200 {
            Ok(())
        } else {
            Err(answer.text().await?)
        })
    })
    .await?;
    let cluster = served.cluster().await?;
    assert_eq!(
        served
            .read(&format!("/api/v1/clusters/{cluster}/nodes"), "viewer")
            .await?
            .0,
        200
    );
    served.stop().await??;
    proxy.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_do_not_cross_the_network_in_the_clear() -> Result<()> {
    let world = world().await;
    let folder = tempfile::tempdir()?;
    let open = ServerOptions {
        listen: SocketAddr::from(([0, 0, 0, 0], 0)),
        ..world.options(folder.path())
    };
    let error = Server::bind(open.clone()).await.err().context("refused")?;
    assert_eq!(error.code(), "insecure_listen");
    let insecure = ServerOptions {
        insecure_listen: true,
        ..open.clone()
    };
    drop(Server::bind(insecure).await?);

    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let files = TlsFiles {
        certificate: certificate.clone(),
        key: key.clone(),
    };
    let with_tls = ServerOptions {
        tls: Some(files),
        ..open
    };
    let missing = Server::bind(with_tls.clone())
        .await
        .err()
        .context("refused")?;
    assert!(
        matches!(&missing, ServerError::Tls { path, .. } if *path == certificate),
        "{missing}"
    );
    let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    std::fs::write(&certificate, pair.cert.pem())?;
    std::fs::write(&key, "garbage")?;
    let garbage = Server::bind(with_tls.clone())
        .await
        .err()
        .context("refused")?;
    assert!(
        matches!(&garbage, ServerError::Tls { path, .. } if *path == key),
        "{garbage}"
    );
    std::fs::write(&key, pair.signing_key.serialize_pem())?;

    let served = Served::start(with_tls).await?;
    let root = reqwest::Certificate::from_pem(pair.cert.pem().as_bytes())?;
    let client = reqwest::Client::builder()
        .tls_certs_only([root])
        .no_proxy()
        .build()?;
    let url = format!("https://127.0.0.1:{}/healthz", served.address.port());
    assert_eq!(client.get(url).send().await?.text().await?, "ok\n");
    let plain = format!("http://127.0.0.1:{}/healthz", served.address.port());
    assert!(client.get(plain).send().await.is_err());
    served.stop().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_has_one_server() -> Result<()> {
    let world = world().await;
    let folder = tempfile::tempdir()?;
    let first = Server::bind(world.options(folder.path())).await?;
    let error = Server::bind(world.options(folder.path()))
        .await
        .err()
        .context("refused")?;
    assert_eq!(error.code(), "record_locked");
    drop(first);
    let none = ServerOptions {
        clusters: Vec::new(),
        ..world.options(folder.path())
    };
    assert_eq!(
        Server::bind(none).await.err().context("refused")?.code(),
        "no_clusters"
    );
    Ok(())
}
