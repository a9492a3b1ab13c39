//! Kubeconfigs that are wrong, and servers that are not what they should be.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Case, Place};

/// A kubeconfig of one context, one cluster and one user.
fn config(server: &str, cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: east\n\
         contexts:\n- {{name: east, context: {{cluster: east, user: ann}}}}\n\
         clusters:\n- {{name: east, cluster: {{server: '{server}'{cluster}}}}}\n\
         users:\n- {{name: ann, user: {{{user}}}}}\n"
    )
}

pub(super) fn cases(place: &Place<'_>) -> Result<Vec<Case>> {
    let url = place.rig.plane.server_url();
    let pki = place.rig.plane.dir().join("pki");
    let ca = format!(
        ", certificate-authority: '{}'",
        pki.join("ca.crt").display()
    );
    let other = format!(
        ", certificate-authority: '{}'",
        pki.join("admin.kubeconfig.crt").display()
    );
    let fine = config(url, &ca, "token: t");
    let write = |name: &str, text: &[u8]| -> Result<PathBuf> {
        let path = place.home.join(name);
        fs::write(&path, text).with_context(|| name.to_owned())?;
        Ok(path)
    };
    let silent = listen(|_| std::thread::sleep(std::time::Duration::from_secs(120)))?;
    let page = listen(|mut stream| {
        let mut request = [0; 2048];
        let _ = stream.read(&mut request);
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 11\r\nConnection: close\r\n\r\n<h1>Hi</h1>";
        let _ = stream.write_all(answer.as_bytes());
    })?;
    let mut cases = Vec::new();
    let mut file = |name: &str, text: &[u8], code: &'static str, names: &[&str]| -> Result<()> {
        let path = write(
            &format!("{}.yaml", name.replace([' ', '/', ','], "-")),
            text,
        )?;
        let mut case = Case::new(name, "drain worker-1", 1, code).naming(names);
        if code.starts_with("kubeconfig") {
            case = case.naming(&[&path.display().to_string()]);
        }
        cases.push(case.kubeconfig(&path));
        Ok(())
    };
    file(
        "kubeconfig: not YAML",
        b"apiVersion: v1\nclusters: [\n  {name: }}\n",
        "kubeconfig_invalid",
        &[],
    )?;
    file(
        "kubeconfig: bytes",
        &[0, 159, 146, 150, 255, 0, 1, 2],
        "kubeconfig_unreadable",
        &[],
    )?;
    file(
        "kubeconfig: another document",
        b"[1, 2, 3]\n",
        "kubeconfig_invalid",
        &[],
    )?;
    file("kubeconfig: empty", b"", "context_not_chosen", &[])?;
    file(
        "kubeconfig: two contexts of one name",
        fine.replace(
            "clusters:",
            "- {name: east, context: {cluster: west, user: ann}}\nclusters:",
        )
        .as_bytes(),
        "kubeconfig_invalid",
        &["east"],
    )?;
    file(
        "kubeconfig: two clusters of one name",
        fine.replace(
            "users:",
            "- {name: east, cluster: {server: 'https://127.0.0.1:1'}}\nusers:",
        )
        .as_bytes(),
        "kubeconfig_invalid",
        &["east"],
    )?;
    file(
        "kubeconfig: no current context",
        fine.replace("current-context: east\n", "").as_bytes(),
        "context_not_chosen",
        &["east"],
    )?;
    file(
        "kubeconfig: context of a cluster that is not there",
        fine.replace("cluster: east, user", "cluster: west, user")
            .as_bytes(),
        "cluster_unknown",
        &["west", "east"],
    )?;
    file(
        "kubeconfig: context of a user that is not there",
        fine.replace("user: ann}", "user: bob}").as_bytes(),
        "user_unknown",
        &["bob", "ann"],
    )?;
    file(
        "kubeconfig: a certificate file that is not there",
        config(url, ", certificate-authority: /no/such/ca.crt", "token: t").as_bytes(),
        "configuration_unusable",
        &["/no/such/ca.crt"],
    )?;
    file(
        "kubeconfig: a certificate that is none",
        config(
            url,
            ", certificate-authority-data: bm90IGEgY2VydGlmaWNhdGU=",
            "token: t",
        )
        .as_bytes(),
        "tls_failed",
        &[url],
    )?;
    file("kubeconfig: a login program that is not there", config(url, &ca, "exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-login, interactiveMode: Never}").as_bytes(), "configuration_unusable", &["no-such-login"])?;
    file(
        "kubeconfig: a server that is no URL",
        config("no url at all", &ca, "token: t").as_bytes(),
        "configuration_unusable",
        &[],
    )?;
    file(
        "a token the server does not know",
        fine.as_bytes(),
        "unauthorized",
        &["ann", url],
    )?;
    file(
        "the server's certificate is from another authority",
        config(url, &other, "token: t").as_bytes(),
        "tls_failed",
        &[url],
    )?;
    file(
        "the server's certificate is for another name",
        config(
            url,
            &format!("{ca}, tls-server-name: elsewhere.example"),
            "token: t",
        )
        .as_bytes(),
        "tls_failed",
        &[url],
    )?;
    file(
        "nothing listens there",
        config("https://127.0.0.1:1", "", "token: t").as_bytes(),
        "server_unreachable",
        &["https://127.0.0.1:1"],
    )?;
    file(
        "no such host",
        config("https://nowhere.invalid:6443", "", "token: t").as_bytes(),
        "server_unreachable",
        &["nowhere.invalid"],
    )?;
    file(
        "a web server",
        config(&page, "", "token: t").as_bytes(),
        "not_kubernetes",
        &[&page],
    )?;
    let path = write("silent.yaml", config(&silent, "", "token: t").as_bytes())?;
    cases.push(
        Case::new(
            "a server that accepts and says nothing",
            "drain worker-1 --request-timeout=2s",
            1,
            "server_unreachable",
        )
        .naming(&[&silent])
        .kubeconfig(&path),
    );
    let path = write("fine.yaml", fine.as_bytes())?;
    cases.push(
        Case::new(
            "--context that is not there",
            "drain worker-1 --context=west",
            1,
            "context_unknown",
        )
        .naming(&["west", "east"])
        .kubeconfig(&path),
    );
    cases.push(
        Case::new(
            "--user that is not there",
            "drain worker-1 --user=bob",
            1,
            "user_unknown",
        )
        .naming(&["bob", "ann"])
        .kubeconfig(&path),
    );
    cases.push(
        Case::new(
            "--cluster that is not there",
            "drain worker-1 --cluster=west",
            1,
            "cluster_unknown",
        )
        .naming(&["west", "east"])
        .kubeconfig(&path),
    );
    cases.push(
        Case::new(
            "--kubeconfig that is not there",
            "drain worker-1",
            1,
            "kubeconfig_missing",
        )
        .naming(&["/no/such/config"])
        .kubeconfig("/no/such/config".as_ref()),
    );
    cases.push(
        Case::new(
            "--kubeconfig is a folder",
            "drain worker-1",
            1,
            "kubeconfig_unreadable",
        )
        .naming(&[&place.home.display().to_string()])
        .kubeconfig(place.home),
    );
    cases.push(
        Case::new("no kubeconfig anywhere", "nodes", 1, "kubeconfig_missing")
            .naming(&[".kube/config"]),
    );
    cases.push(
        Case::new(
            "KUBECONFIG names what is not there",
            "nodes",
            1,
            "kubeconfig_missing",
        )
        .naming(&["/no/such/config"])
        .env("KUBECONFIG", "/no/such/config"),
    );
    // Two contexts, one cluster.
    let twice = fine
        .replace(
            "clusters:",
            "- {name: west, context: {cluster: east, user: ann}}\nclusters:",
        )
        .replace(
            "token: t",
            &format!(
                "client-certificate: '{0}.crt', client-key: '{0}.key'",
                pki.join("admin.kubeconfig").display()
            ),
        );
    let path = write("twice.yaml", twice.as_bytes())?;
    cases.push(
        Case::new(
            "serve: two contexts are one cluster",
            "serve --all-contexts --listen=127.0.0.1:0",
            1,
            "same_cluster",
        )
        .naming(&["east", "west"])
        .kubeconfig(&path),
    );
    cases.push(
        Case::new(
            "--server: nothing listens there",
            "nodes --server=http://127.0.0.1:1",
            1,
            "refloat_unreachable",
        )
        .naming(&["127.0.0.1:1"]),
    );
    cases.push(
        Case::new(
            "--server: no refloat",
            format!("nodes --server={page}").as_str(),
            1,
            "refloat_answer",
        )
        .naming(&[&page]),
    );
    Ok(cases)
}

/// A server on a free port that does this with every connection, until the process ends.
fn listen(answer: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
    let address = listener.local_addr().context("an address")?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || answer(stream));
        }
    });
    Ok(format!("http://{address}"))
}
