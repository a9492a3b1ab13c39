//! What a file may hold.

/// More lines than this are two files.
const MAX_LINES: usize = 800;

/// Parts of paths that exist on one machine only. Split, so that this file does not hold them.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk"),
    concat!("/ro", "ot"),
    concat!("/ho", "me"),
    concat!("/Us", "ers"),
];

/// Hosts that a tool's configuration names, not a project's file: others have other mirrors.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("proxy.go", "lang.org"),
    concat!("sum.go", "lang.org"),
    concat!("go", "proxy."),
    concat!("index.cra", "tes.io"),
    concat!("static.cra", "tes.io"),
    concat!("rsp", "roxy.cn"),
    concat!("registry.np", "mjs.org"),
    concat!("registry.np", "mmirror.com"),
    concat!("registry.yarn", "pkg.com"),
    concat!("files.python", "hosted.org"),
    concat!("deb.deb", "ian.org"),
];

/// Checks one file by its path in the repository and its text.
pub(super) fn check(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let is_source = [".rs", ".ts", ".tsx"].iter().any(|end| path.ends_with(end));
    let lines = text.lines().count();
    if is_source && lines > MAX_LINES {
        findings.push(format!("{path}: {lines} lines, more than {MAX_LINES}"));
    }
    for (number, line) in text.lines().enumerate() {
        for part in MACHINE_PATHS.iter().filter(|part| holds_path(line, part)) {
            findings.push(format!(
                "{path}:{}: a path of one machine: {part}",
                number + 1
            ));
        }
        for host in REGISTRY_HOSTS.iter().filter(|host| line.contains(**host)) {
            findings.push(format!("{path}:{}: a registry's host: {host}", number + 1));
        }
    }
    findings
}

/// Whether a line names a place below this top folder: the folder begins a path and something follows it.
fn holds_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let begins =
            !line[..at].ends_with(|c: char| c.is_alphanumeric() || "/._-}>*~)$".contains(c));
        let rest = &line[at + folder.len()..];
        let goes_on = rest.strip_prefix('/').is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_alphanumeric() || "._".contains(c))
        });
        begins && goes_on
    })
}

/// Every crate must have its place in the description of the whole.
pub(super) fn unnamed_crates<'a>(
    architecture: &str,
    names: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let is_named = |name: &str| {
        let words = architecture.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'));
        words.into_iter().any(|word| word == name)
    };
    names
        .filter(|name| !is_named(name))
        .map(|name| format!("ARCHITECTURE.md: does not name the crate {name}"))
        .collect()
}

/// A crate begins with what it is for.
pub(super) fn missing_docs(name: &str, text: &str) -> Option<String> {
    (!text.starts_with("//!"))
        .then(|| format!("{name}: its root does not begin with //! documentation"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sources_are_found_long_data_is_not() {
        let long = "x\n".repeat(MAX_LINES + 1);
        assert_eq!(check("a.rs", &long).len(), 1);
        assert_eq!(check("a.ts", &long).len(), 1);
        assert!(check("a.json", &long).is_empty());
        assert!(check("a.rs", &"x\n".repeat(MAX_LINES)).is_empty());
    }

    #[test]
    fn paths_of_a_machine_are_told_from_paths_of_an_api() {
        let work = MACHINE_PATHS[0];
        assert_eq!(check("a.md", &format!("see {work}/main/x")).len(), 1);
        assert_eq!(
            check("a.md", &format!("a\n\"{work}/main\"")),
            [format!("a.md:2: a path of one machine: {work}")]
        );
        for fine in [
            format!("GET /apis{work}/x"),
            format!("{work}loads/x"),
            format!("${{DIR}}{work}/x"),
            format!("the {work} folder"),
        ] {
            assert!(check("a.md", &fine).is_empty(), "{fine}");
        }
    }

    #[test]
    fn registry_hosts_are_found() {
        assert_eq!(
            check(
                "a.toml",
                &format!("url = \"https://{}/x\"", REGISTRY_HOSTS[0])
            )
            .len(),
            1
        );
        assert!(check("a.toml", "url = \"https://docs.rs/x\"").is_empty());
    }

    #[test]
    fn a_crate_is_named_by_a_whole_word() {
        let names = ["api", "cli"];
        assert_eq!(
            unnamed_crates("`api/` and clipboard", names.into_iter()),
            ["ARCHITECTURE.md: does not name the crate cli"]
        );
    }

    #[test]
    fn a_crate_begins_with_its_documentation() {
        assert!(missing_docs("a", "//! What it is.\n").is_none());
        assert!(missing_docs("a", "fn main() {}\n").is_some());
    }
}
