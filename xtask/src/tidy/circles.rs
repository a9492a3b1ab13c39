//! No circles of files: modules of a crate that use each other are one module.
//!
//! Read from the text: what a file uses are the paths in its `use` declarations and in its code that begin at the crate,
//! at itself, above, or at one of its modules. A name that a module only passes on (`pub use`) leads to the file that
//! has it, so that a façade is in no circle. A module and those within it may use each other, and tests may look at
//! everything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::source::{self, Source};

/// Files in circles that there are for now, by crate: none may be added, and the list is to become empty. What is being
/// made anew has no number.
const KNOWN: &[(&str, usize)] = &[
    ("cli", 3),
    ("diagnosis", 4),
    ("engine", usize::MAX),
    ("hosts", 4),
    ("model", 1),
    ("operations", usize::MAX),
    ("proofs", 1),
    ("sandbox", usize::MAX),
    ("server", 5),
    ("service", usize::MAX),
    ("store", 1),
    ("testkit", 1),
];

/// A module's path from the root of its crate.
type Module = Vec<String>;

/// The modules of one target that are files.
#[derive(Default)]
pub(super) struct Tree {
    files: BTreeMap<Module, (PathBuf, Source)>,
}

impl Tree {
    /// All that the root names, and what those name.
    pub(super) fn read(root: &Path, read: &impl Fn(&Path) -> Option<String>) -> Self {
        let mut tree = Self::default();
        let folder = root.parent().unwrap_or(root).to_path_buf();
        let mut open = vec![(Module::new(), root.to_path_buf(), folder)];
        while let Some((module, path, folder)) = open.pop() {
            let Some(source) = read(&path).map(|text| source::parse(&text)) else {
                continue;
            };
            for child in &source.modules {
                let flat = folder.join(format!("{child}.rs"));
                let below = folder.join(child);
                let file = match read(&flat) {
                    Some(_) => flat,
                    None => below.join("mod.rs"),
                };
                let name = [&*module, std::slice::from_ref(child)].concat();
                open.push((name, file, below));
            }
            tree.files.insert(module, (path, source));
        }
        tree
    }

    /// The file that has what a path names, as seen from a module.
    fn resolve(&self, from: &Module, path: &[String], depth: u8) -> Option<Module> {
        let (mut at, rest): (Module, &[String]) = match path.first()?.as_str() {
            "crate" => (Module::new(), &path[1..]),
            "self" => (from.clone(), &path[1..]),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let at = from.get(..from.len().checked_sub(ups)?)?;
                (at.to_vec(), &path[ups..])
            }
            first if self.child(from, first).is_some() => (from.clone(), path),
            _ => return None,
        };
        let mut rest = rest;
        while let Some(child) = rest.first().and_then(|name| self.child(&at, name)) {
            (at, rest) = (child, &rest[1..]);
        }
        let (_, source) = self.files.get(&at)?;
        let passed_on = rest.first().and_then(|name| {
            let used = source.uses.iter().find(|used| used.name == *name)?;
            // A name that is the module's own is not followed into itself.
            let further = self.resolve(&at, &used.path, depth.checked_sub(1)?)?;
            Some(further)
        });
        Some(passed_on.unwrap_or(at))
    }

    fn child(&self, of: &Module, name: &str) -> Option<Module> {
        let child = [&**of, &[name.to_owned()]].concat();
        self.files.contains_key(&child).then_some(child)
    }

    /// Which file uses which.
    fn edges(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let of = |(module, (_, source)): (&'_ Module, &(PathBuf, Source))| {
            let uses = source.uses.iter().filter(|used| !used.passed_on);
            let paths = uses.map(|used| &used.path).chain(&source.paths);
            let found = paths.filter_map(|path| self.resolve(module, path, 8));
            let within = |other: &Module| other.starts_with(module) || module.starts_with(other);
            found.filter(|other| !within(other)).collect()
        };
        self.files.iter().map(|file| (file.0, of(file))).collect()
    }

    /// A shortest circle through each group of files that use each other.
    pub(super) fn circles(&self) -> Vec<Vec<&Path>> {
        let edges = self.edges();
        let mut found = Vec::new();
        let mut told = BTreeSet::new();
        for start in edges.keys() {
            if told.contains(*start) {
                continue;
            }
            let Some(circle) = shortest(&edges, start) else {
                continue;
            };
            told.extend(circle.iter().cloned());
            let files = circle.iter().filter_map(|module| self.files.get(module));
            found.push(files.map(|(path, _)| path.as_path()).collect());
        }
        found
    }
}

/// The shortest way from a file back to itself.
fn shortest(edges: &BTreeMap<&Module, BTreeSet<Module>>, start: &Module) -> Option<Vec<Module>> {
    let mut seen = BTreeSet::new();
    let mut ways = std::collections::VecDeque::from([vec![start.clone()]]);
    while let Some(way) = ways.pop_front() {
        for next in edges.get(way.last()?).into_iter().flatten() {
            if next == start {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                let mut longer = way.clone();
                longer.push(next.clone());
                ways.push_back(longer);
            }
        }
    }
    None
}

/// What is wrong with the files of a crate.
pub(super) fn check(name: &str, tree: &Tree, root: &Path) -> Vec<String> {
    let circles = tree.circles();
    let known = KNOWN.iter().find(|(known, _)| *known == name);
    if circles.len() <= known.map_or(0, |(_, most)| *most) {
        return Vec::new();
    }
    let show = |path: &&Path| {
        let path = path.strip_prefix(root).unwrap_or(path);
        path.display().to_string()
    };
    let tell = |circle: &Vec<&Path>| {
        let names: Vec<String> = circle.iter().map(show).collect();
        format!("{name}: files use each other: {}", names.join(" -> "))
    };
    circles.iter().map(tell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles of a crate with these files, by their names.
    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        let tree = Tree::read(Path::new("lib.rs"), &read);
        let tell = |circle: &Vec<&Path>| {
            let names: Vec<String> = circle
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            names.join(" ")
        };
        tree.circles().iter().map(tell).collect()
    }

    #[test]
    fn circles_are_found_by_whatever_way_and_nothing_else() {
        let lib = ("lib.rs", "mod a; mod b; pub use a::A; pub use b::B;");
        let uses_b = ("a.rs", "use crate::b::B; pub struct A(B);");
        assert_eq!(circles(&[lib, uses_b, ("b.rs", "pub struct B;")]), [""; 0]);
        for back in [
            "use crate::a::A;",
            "use super::{a::{self, A as Other}};",
            "fn f() { crate::a::f() }",
            // By the façade.
            "use crate::A;",
            "fn f() -> crate::A { todo() }",
        ] {
            assert_eq!(
                circles(&[lib, uses_b, ("b.rs", back)]),
                ["a.rs b.rs"],
                "{back}"
            );
        }
        for fine in [
            "// use crate::a::A;",
            "/* use crate::a::A; */ const T: &str = \"crate::a::A\"; const U: &str = r#\"crate::a::\"A\"#;",
            "#[cfg(test)] mod tests { use crate::a::A; fn f() {} }",
            "fn f<'a>(x: &'a str) -> char { '\"' }",
            "use a::A;",
        ] {
            assert_eq!(circles(&[lib, uses_b, ("b.rs", fine)]), [""; 0], "{fine}");
        }
    }

    #[test]
    fn a_module_and_those_within_may_use_each_other() {
        let files = [
            ("lib.rs", "mod a;"),
            ("a/mod.rs", "mod b; use b::B; pub struct A;"),
            ("a/b.rs", "use super::A; pub struct B(A);"),
        ];
        assert_eq!(circles(&files), [""; 0]);
    }
}
