//! Faults of the network.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::super::host::Host;
use super::super::node::API_PORT;
use crate::wait_until;

/// A rule that makes the kernel keep the table of connections, as kube-proxy's rules do on a node.
const TRACK: &str = "INPUT -m conntrack --ctstate INVALID -j DROP";

impl Host {
    fn api_rules(&self) -> [String; 2] {
        let server = self.spec.place.gateway();
        [
            format!("OUTPUT --protocol tcp --destination {server} --dport {API_PORT} -j DROP"),
            format!("INPUT --protocol tcp --source {server} --sport {API_PORT} -j DROP"),
        ]
    }

    pub(super) async fn cut_api(&self) -> Result<String> {
        for rule in self.api_rules() {
            self.shell(&format!("iptables --wait -I {rule}")).await?;
        }
        Ok(String::new())
    }

    pub(super) async fn restore_api(&self) -> Result<()> {
        for rule in self.api_rules() {
            self.try_shell(&format!("iptables --wait -D {rule}")).await;
        }
        Ok(())
    }

    pub(super) async fn fill_conntrack(&self) -> Result<String> {
        self.shell(&format!("iptables --wait -A {TRACK}")).await?;
        let max = self
            .output(&["cat", "/proc/sys/net/netfilter/nf_conntrack_max"])
            .await?;
        let max: u32 = max.trim().parse().context("nf_conntrack_max")?;
        // On a real node kubelet's own connection is older than the trouble: let it be seen first.
        let _ = wait_until(Duration::from_secs(12), "kubelet is tracked", async || {
            let list = format!("conntrack -L -p tcp --dport {API_PORT} 2>/dev/null");
            let seen = self.shell(&list).await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok(if seen.contains("ASSURED") {
                Ok(())
            } else {
                Err(seen)
            })
        })
        .await;
        let entries = entries(max);
        let load = ["conntrack", "--load-file", "-"];
        // The last of them fail, since others had their place already.
        self.exec_with(&load, entries.as_bytes(), Duration::from_secs(120))
            .await?;
        let count = self
            .output(&["cat", "/proc/sys/net/netfilter/nf_conntrack_count"])
            .await?;
        let count: u32 = count.trim().parse().context("nf_conntrack_count")?;
        ensure!(count + 8 >= max, "{count} of {max} connections");
        Ok(String::new())
    }

    pub(super) async fn flush_conntrack(&self) -> Result<()> {
        self.try_shell(&format!("conntrack -F; iptables --wait -D {TRACK}"))
            .await;
        Ok(())
    }
}

/// That many connections that never were, as `conntrack --load-file` reads them: assured, so that none is given up for
/// a new one.
fn entries(count: u32) -> String {
    const PORTS: u32 = 60_000;
    let mut text = String::new();
    for n in 0..count {
        let (host, port) = (n / PORTS + 2, n % PORTS + 1);
        text.push_str(&format!(
            "-A -t 86400 -u SEEN_REPLY,ASSURED -s 127.0.0.1 -d 127.0.0.{host} -r 127.0.0.{host} -q 127.0.0.1 \
             -p udp --sport 9 --dport {port} --reply-port-src {port} --reply-port-dst 9\n"
        ));
    }
    text
}
