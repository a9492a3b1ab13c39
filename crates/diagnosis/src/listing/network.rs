//! Links, routes, sockets, connection tracking (`ip`, `ss`, `/proc/net/sockstat`, `conntrack -S`).

use ::host::Interface;

use super::{Gathered, Page};
use crate::Cause::*;
use crate::Confidence;
use crate::rule::number_after;

/// `2: eth0@if5: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1500 … state DOWN …`.
pub(super) fn link(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let line = page.line(at);
    let mut parts = line.splitn(3, ": ");
    let (Some(index), Some(name), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return 0;
    };
    let flags = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let Some((flags, rest)) = flags.filter(|_| index.parse::<u32>().is_ok()) else {
        return 0;
    };
    let flag = |name: &str| flags.split(',').any(|flag| flag == name);
    let state = rest.split_once(" state ").map(|(_, rest)| rest);
    let state = state
        .and_then(|rest| rest.split(' ').next())
        .unwrap_or_default();
    let name = name.split('@').next().unwrap_or(name);
    // One that nobody switched on is not down.
    if flag("UP") && !flag("LOOPBACK") {
        let state = if flag("NO-CARRIER") { "down" } else { state };
        gathered.told.facts.interfaces.push(Interface {
            name: name.to_owned(),
            state: state.to_ascii_lowercase(),
        });
        gathered
            .told
            .ground(&[NicLinkDown], name, vec![page.quote(at)]);
    }
    1
}

/// `ip route` as it was typed, with its routes: none of them the default.
pub(super) fn routes(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let command = page
        .line(at)
        .trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let command = match command.rsplit_once("# ").or(command.rsplit_once("$ ")) {
        Some((_, command)) => command,
        None => command,
    };
    let all = [
        "ip r",
        "ip ro",
        "ip route",
        "ip r s",
        "ip route show",
        "ip route list",
        "ip r l",
    ];
    if !all.contains(&command.trim()) {
        return 0;
    }
    let routes: Vec<&str> = page
        .block(at + 1)
        .map(|(_, line)| line)
        .take_while(|line| line.contains(" dev ") || line.contains(" via "))
        .collect();
    let default = routes
        .iter()
        .any(|line| line.starts_with("default") || line.starts_with("0.0.0.0/0"));
    if !routes.is_empty() && !default {
        let lines = [page.quote(at), page.quote(at + 1)];
        let told = &mut gathered.told;
        told.show(NoDefaultRoute, Confidence::Medium, "", 0.0, &lines);
    }
    1 + routes.len()
}

/// A heading of `/proc/net/sockstat`: nothing by itself.
pub(super) fn heading(_: &Page<'_>, _: usize, _: &mut Gathered) -> usize {
    0
}

/// `TCP: inuse 10 orphan 0 tw 5 alloc 12 mem 190000`, in pages.
pub(super) fn sockets(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    let line = page.line(at);
    if !line.starts_with("TCP: inuse") {
        return 0;
    }
    if let Some(pages) = number_after(line, " mem ") {
        gathered.tcp.0 = Some((pages as u64, page.quote(at)));
    }
    1
}

/// Connections that were thrown out early since boot: the table was full at times.
const EARLY: f64 = 100.0;

/// `cpu=0 found=1 invalid=2 insert=0 insert_failed=3 drop=4 early_drop=5 error=0 search_restart=6`.
pub(super) fn conntrack(page: &Page<'_>, at: usize, gathered: &mut Gathered) -> usize {
    if !page.line(at).starts_with("cpu=") {
        return 0;
    }
    let rows: Vec<_> = page
        .block(at)
        .take_while(|(_, line)| line.starts_with("cpu="))
        .collect();
    let early = |line: &str| number_after(line, "early_drop=").unwrap_or_default();
    let sum: f64 = rows.iter().map(|(_, line)| early(line)).sum();
    let most = rows.iter().max_by(|a, b| early(a.1).total_cmp(&early(b.1)));
    if sum >= EARLY
        && let Some((at, _)) = most
    {
        gathered.suspect(ConntrackFull, "", sum, &[page.quote(*at)]);
    }
    rows.len()
}

/// TCP's pages against the most it may have.
pub(super) fn judge(gathered: &mut Gathered) {
    if let (Some((pages, line)), Some(limit)) = (gathered.tcp.0.take(), gathered.tcp.1)
        && limit > 0
        && pages.saturating_mul(100) >= limit.saturating_mul(95)
    {
        let told = &mut gathered.told;
        told.show(TcpMemExhausted, Confidence::High, "", 0.0, &[line]);
    }
}
