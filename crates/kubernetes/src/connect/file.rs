//! Kubeconfig files as client-go reads them (`tools/clientcmd` of 1.36): several files are merged by the name of each
//! entry, the first file that has it wins; only what the chosen context names is looked at, so that nothing unused or
//! odd in a file stands in the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::Value;

use super::ConnectError;

/// One named entry of a list, with the file it came from.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) name: String,
    /// `context`, `cluster` or `user`: always an object.
    value: Value,
    file: PathBuf,
}

/// What the files say together.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) current: String,
    pub(super) contexts: Vec<Entry>,
    pub(super) clusters: Vec<Entry>,
    pub(super) users: Vec<Entry>,
}

/// Where kubeconfigs are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sources {
    pub(super) paths: Vec<PathBuf>,
    /// Named by flag: must be there.
    explicit: bool,
}

impl Sources {
    /// The flag, else `KUBECONFIG`, else `~/.kube/config`.
    pub(super) fn find(flag: Option<&Path>) -> Self {
        if let Some(path) = flag {
            return Self {
                paths: vec![path.to_owned()],
                explicit: true,
            };
        }
        let mut paths: Vec<PathBuf> = Vec::new();
        if let Some(list) = std::env::var_os("KUBECONFIG") {
            for path in std::env::split_paths(&list) {
                if !path.as_os_str().is_empty() && !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
        if paths.is_empty() {
            paths.extend(std::env::home_dir().map(|home| home.join(".kube/config")));
        }
        Self {
            paths,
            explicit: false,
        }
    }

    /// Reads and merges the files; `None` when there are none.
    pub(super) fn read(&self) -> Result<Option<Merged>, ConnectError> {
        let mut merged: Option<Merged> = None;
        for path in &self.paths {
            let bytes = match std::fs::read(path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    if self.explicit {
                        return Err(ConnectError::KubeconfigMissing {
                            searched: self.paths.clone(),
                        });
                    }
                    continue;
                }
                Err(error) => return Err(unreadable(path, &error.to_string())),
            };
            let text =
                String::from_utf8(bytes).map_err(|_| unreadable(path, "it is not text (UTF-8)"))?;
            merged.get_or_insert_default().add(path, &text)?;
        }
        Ok(merged)
    }
}

fn unreadable(path: &Path, reason: &str) -> ConnectError {
    ConnectError::KubeconfigUnreadable {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn invalid(path: &Path, reason: String) -> ConnectError {
    ConnectError::KubeconfigInvalid {
        path: path.to_owned(),
        line: None,
        reason,
    }
}

/// The first document of a YAML text; `Null` when it has none. Of two equal keys the last counts, as in client-go.
fn parse(path: &Path, text: &str) -> Result<Value, ConnectError> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
            let text = error.to_string();
            let line = text.split_once("line ").and_then(|(_, rest)| {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                digits.parse().ok()
            });
            ConnectError::KubeconfigInvalid {
                path: path.to_owned(),
                line,
                reason: text.lines().next().unwrap_or_default().to_owned(),
            }
        })?;
    Ok(documents.into_iter().next().unwrap_or_default())
}

impl Merged {
    fn add(&mut self, path: &Path, text: &str) -> Result<(), ConnectError> {
        let value = parse(path, text.trim_start_matches('\u{feff}'))?;
        let value = match value {
            Value::Null => return Ok(()),
            Value::Object(_) => value,
            _ => return Err(invalid(path, "it is not a mapping".to_owned())),
        };
        let kind = value["kind"].as_str().unwrap_or("Config");
        let version = value["apiVersion"].as_str().unwrap_or("v1");
        if !matches!(kind, "" | "Config") || !matches!(version, "" | "v1") {
            return Err(invalid(
                path,
                format!("it is a {kind} of {version}, not a Config of v1"),
            ));
        }
        if self.current.is_empty() {
            self.current = text_of(&value, "current-context")
                .map_err(|reason| invalid(path, reason))?
                .unwrap_or_default();
        }
        take(&mut self.contexts, path, &value, "contexts", "context")?;
        take(&mut self.clusters, path, &value, "clusters", "cluster")?;
        take(&mut self.users, path, &value, "users", "user")
    }
}

/// Adds a file's entries of one kind that no file before it has.
fn take(
    into: &mut Vec<Entry>,
    path: &Path,
    config: &Value,
    list: &str,
    item: &str,
) -> Result<(), ConnectError> {
    let entries = match &config[list] {
        Value::Null => return Ok(()),
        Value::Array(entries) => entries,
        _ => return Err(invalid(path, format!("{list} is not a list"))),
    };
    let before = into.len();
    for entry in entries {
        let name = text_of(entry, "name").map_err(|reason| invalid(path, reason))?;
        let name = name.unwrap_or_default();
        // Which of the two is meant nobody knows; client-go refuses it, too.
        if into.iter().skip(before).any(|entry| entry.name == name) {
            let reason = format!("two {list} are called \"{name}\"");
            return Err(invalid(path, reason));
        }
        if into.iter().take(before).any(|entry| entry.name == name) {
            continue;
        }
        into.push(Entry {
            name,
            value: match &entry[item] {
                value @ Value::Object(_) => value.clone(),
                _ => Value::Object(serde_json::Map::new()),
            },
            file: path.to_owned(),
        });
    }
    Ok(())
}

/// A text field; an error when it is something else.
fn text_of(value: &Value, key: &str) -> Result<Option<String>, String> {
    match &value[key] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Value::Number(_) | Value::Bool(_) => Err(format!(
            "{key} is a number or a truth value; if it is meant as text, put it in quotes"
        )),
        _ => Err(format!("{key} is not a text")),
    }
}

impl Entry {
    /// Entry and key in words.
    fn wrong(&self, reason: String) -> ConnectError {
        invalid(&self.file, format!("\"{}\": {reason}", self.name))
    }

    /// A text; `None` when it is missing or empty.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, ConnectError> {
        text_of(&self.value, key).map_err(|reason| self.wrong(reason))
    }

    /// A truth value, in YAML 1.1's words too, which Go's parser takes.
    pub(super) fn truth(&self, key: &str) -> Result<bool, ConnectError> {
        match &self.value[key] {
            Value::Null => Ok(false),
            Value::Bool(truth) => Ok(*truth),
            Value::String(word) => match word.to_ascii_lowercase().as_str() {
                "y" | "yes" | "on" | "true" => Ok(true),
                "" | "n" | "no" | "off" | "false" => Ok(false),
                _ => Err(self.wrong(format!("{key} is neither true nor false"))),
            },
            _ => Err(self.wrong(format!("{key} is neither true nor false"))),
        }
    }

    /// Texts of a list.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, ConnectError> {
        self.list(&self.value[key], key)
    }

    fn list(&self, value: &Value, key: &str) -> Result<Vec<String>, ConnectError> {
        let wrong = || self.wrong(format!("{key} is not a list of texts"));
        match value {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(ToOwned::to_owned).ok_or_else(wrong))
                .collect(),
            _ => Err(wrong()),
        }
    }

    /// Lists of texts by key, such as `as-user-extra`.
    pub(super) fn lists(&self, key: &str) -> Result<BTreeMap<String, Vec<String>>, ConnectError> {
        match &self.value[key] {
            Value::Null => Ok(BTreeMap::new()),
            Value::Object(map) => map
                .iter()
                .map(|(name, value)| Ok((name.clone(), self.list(value, key)?)))
                .collect(),
            _ => Err(self.wrong(format!("{key} is not a mapping"))),
        }
    }

    /// An entry within the entry, such as `exec`.
    pub(super) fn inner(&self, key: &str) -> Option<Self> {
        self.value[key].is_object().then(|| Self {
            name: self.name.clone(),
            value: self.value[key].clone(),
            file: self.file.clone(),
        })
    }

    /// The objects of a list, such as `env`.
    pub(super) fn items(&self, key: &str) -> Vec<Self> {
        let items = self.value[key].as_array().map(Vec::as_slice);
        let entry = |value: &Value| Self {
            name: self.name.clone(),
            value: value.clone(),
            file: self.file.clone(),
        };
        items.unwrap_or_default().iter().map(entry).collect()
    }

    /// The object as it is.
    pub(super) fn raw(&self, key: &str) -> &Value {
        &self.value[key]
    }

    /// A path; a relative one counts from the folder of the file.
    pub(super) fn path(&self, key: &str) -> Result<Option<PathBuf>, ConnectError> {
        Ok(self.text(key)?.map(|text| self.resolve(&text)))
    }

    pub(super) fn resolve(&self, text: &str) -> PathBuf {
        match self.file.parent() {
            Some(folder) => folder.join(text),
            None => PathBuf::from(text),
        }
    }

    /// Bytes in base64; `None` when missing or empty.
    pub(super) fn data(&self, key: &str) -> Result<Option<Vec<u8>>, ConnectError> {
        let Some(mut text) = self.text(key)? else {
            return Ok(None);
        };
        text.retain(|c| !c.is_ascii_whitespace());
        let bytes = base64::engine::general_purpose::STANDARD.decode(text);
        let bytes = bytes.map_err(|error| self.wrong(format!("{key} is not base64: {error}")))?;
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// Something about this entry cannot be used.
    pub(super) fn unusable(&self, reason: &str) -> ConnectError {
        ConnectError::Unusable {
            reason: format!("\"{}\" in {}: {reason}", self.name, self.file.display()),
        }
    }
}
