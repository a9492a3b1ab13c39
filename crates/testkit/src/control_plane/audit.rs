//! The API server's audit log: who asked for what, and what the answer was.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// What is logged: every request once, when it is answered; but neither events and Leases, nor what the components
/// and the fake kubelets do all day.
pub(super) const POLICY: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: None
  resources:
  - {group: "", resources: [events]}
  - {group: events.k8s.io, resources: [events]}
- level: None
  users: ["testkit:kubelets", "system:kube-scheduler", "system:apiserver"]
- level: None
  userGroups: ["system:nodes"]
- level: None
  users: ["system:kube-controller-manager"]
  verbs: [get, list, watch]
- level: None
  userGroups: ["system:serviceaccounts:kube-system"]
  verbs: [get, list, watch]
- level: None
  nonResourceURLs: ["/readyz*", "/livez*", "/healthz*", "/version*", "/openapi*"]
- level: Metadata
"#;

/// One answered request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who asked.
    pub user: String,
    /// Who they acted as, if they impersonated somebody.
    pub impersonated_user: Option<String>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The path and query.
    pub uri: String,
    /// What it was about; `None` for paths such as `/metrics`.
    pub object: Option<AuditObject>,
    /// The status code of the answer.
    pub code: Option<u16>,
    /// The program that asked.
    pub user_agent: String,
    /// When the request came in (RFC 3339 with microseconds).
    pub received: String,
    /// When it was answered.
    pub answered: String,
}

impl AuditEntry {
    /// Whether it asked for the eviction of a pod; a dry run too, see [`AuditEntry::is_dry_run`].
    pub fn is_eviction(&self) -> bool {
        self.verb == "create" && self.is_about("pods", "eviction")
    }

    /// Whether nothing was to be changed. kubectl and kube give `dryRun` in the query.
    pub fn is_dry_run(&self) -> bool {
        self.uri.contains("dryRun=All")
    }

    /// Whether it was about this resource and subresource (`""` for none).
    pub fn is_about(&self, resource: &str, subresource: &str) -> bool {
        self.object
            .as_ref()
            .is_some_and(|object| object.resource == resource && object.subresource == subresource)
    }

    /// Whether the server did as asked.
    pub fn succeeded(&self) -> bool {
        self.code.is_some_and(|code| (200..300).contains(&code))
    }
}

/// The object of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditObject {
    /// The API group, empty for the core one.
    pub api_group: String,
    /// The plural, such as `pods`.
    pub resource: String,
    /// Such as `eviction` or `status`; empty for the object itself.
    pub subresource: String,
    /// The namespace, empty for objects of the cluster.
    pub namespace: String,
    /// The name, empty for lists and watches.
    pub name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: LineUser,
    impersonated_user: Option<LineUser>,
    object_ref: Option<AuditObject>,
    response_status: Option<LineStatus>,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    request_received_timestamp: String,
    #[serde(default)]
    stage_timestamp: String,
}

#[derive(Deserialize)]
struct LineUser {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize)]
struct LineStatus {
    code: Option<u16>,
}

impl From<Line> for AuditEntry {
    fn from(line: Line) -> Self {
        Self {
            user: line.user.username,
            impersonated_user: line.impersonated_user.map(|user| user.username),
            verb: line.verb,
            uri: line.request_uri,
            object: line.object_ref,
            code: line.response_status.and_then(|status| status.code),
            user_agent: line.user_agent,
            received: line.request_received_timestamp,
            answered: line.stage_timestamp,
        }
    }
}

/// Reads the log from a byte offset; from the beginning of the line in which that is, since the log may have ended there
/// in the middle of one. A last line that is not complete yet is left out.
pub(super) fn read(path: &Path, from: u64) -> Result<Vec<AuditEntry>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("open the audit log"),
    };
    let start = line_start(&mut file, from).context("seek in the audit log")?;
    file.seek(SeekFrom::Start(start))
        .context("seek in the audit log")?;
    parse(BufReader::new(file))
}

/// Where the line begins that this offset is in.
fn line_start(file: &mut (impl Read + Seek), from: u64) -> std::io::Result<u64> {
    const STEP: u64 = 4096;
    let mut end = from;
    loop {
        let start = end.saturating_sub(STEP);
        let mut part = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(end - start).read_to_end(&mut part)?;
        match part.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => return Ok(start + at as u64 + 1),
            None if start == 0 => return Ok(0),
            None => end = start,
        }
    }
}

fn parse(mut reader: impl BufRead) -> Result<Vec<AuditEntry>> {
    let mut entries = Vec::new();
    let mut line = String::new();
    while reader.read_line(&mut line).context("read the audit log")? > 0 && line.ends_with('\n') {
        let parsed: Line =
            serde_json::from_str(&line).with_context(|| format!("audit log line {line:?}"))?;
        entries.push(parsed.into());
        line.clear();
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_eviction_on_behalf_of_somebody() {
        let text = concat!(
            r#"{"kind":"Event","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/a/pods/p/eviction?","verb":"create","#,
            r#""user":{"username":"admin","groups":["system:masters"]},"impersonatedUser":{"username":"alice"},"#,
            r#""userAgent":"refloat/0.1","objectRef":{"resource":"pods","namespace":"a","name":"p","apiVersion":"v1","subresource":"eviction"},"#,
            r#""responseStatus":{"metadata":{},"status":"Failure","code":429},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z"}"#,
            "\n{\"half"
        );
        let entries = parse(text.as_bytes()).unwrap();
        assert_eq!(entries.len(), 1);
        let entry = &entries[0];
        assert!(entry.is_eviction() && !entry.succeeded() && !entry.is_dry_run());
        assert_eq!(
            (entry.user.as_str(), entry.impersonated_user.as_deref()),
            ("admin", Some("alice"))
        );
        assert_eq!(entry.code, Some(429));
    }
    #[test]
    fn a_mark_in_the_middle_of_a_line_is_at_its_beginning() {
        let long = "x".repeat(10_000);
        let text = format!("ab\n{long}\n");
        for (from, expected) in [(0, 0), (2, 0), (3, 3), (4, 3), (9_000, 3), (10_004, 10_004)] {
            let mut file = std::io::Cursor::new(text.as_bytes());
            assert_eq!(line_start(&mut file, from).unwrap(), expected, "{from}");
        }
    }
}
