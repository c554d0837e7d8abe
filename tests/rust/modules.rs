//! The crate's modules depend on each other in one direction. No file imports, directly or through others,
//! from a file that imports from it. No folder imports from a folder above it.
//!
//! A file depends on the files that define what its paths name, in `use` and elsewhere, but not in tests. A
//! module does not depend on its children because it declares them or reexports what they define (`pub
//! use`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMacro, ItemMod, ItemUse, UseTree, Visibility};

/// The top-level modules of the crate, from the bottom up. Each imports only from those before it.
const ORDER: [&str; 14] = [
    "error",
    "room",
    "simd",
    "math",
    "threads",
    "view",
    "buffer",
    "matmul",
    "cell",
    "recurrent",
    "nn",
    "train",
    "lab",
    "",
];

/// A module's path within the crate. The root's path is empty.
type Module = Vec<String>;

/// What a file says about other files.
#[derive(Default)]
struct File {
    /// The paths that it names, from the crate's root.
    named: BTreeSet<Vec<String>>,
    /// What it reexports: the name, and the path of the original.
    handed_on: BTreeMap<String, Vec<String>>,
}

struct Reader<'a> {
    module: &'a Module,
    modules: &'a BTreeSet<Module>,
    file: File,
}

impl Reader<'_> {
    /// The path from the crate's root; none if the path leads outside the crate.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut rest = path;
        let mut base = match rest.first()?.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => self.module.clone(),
            child => {
                let at = [&self.module[..], &[child.to_string()]].concat();
                return self.modules.contains(&at).then(|| [&self.module[..], path].concat());
            }
        };
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" | "self" => {}
                "super" => drop(base.pop()?),
                _ => break,
            }
            rest = after;
        }
        Some([&base[..], rest].concat())
    }

    fn name(&mut self, path: &[String]) {
        self.file.named.extend(self.absolute(path));
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut leaves = Vec::new();
        leaves_of(&item.tree, &mut Vec::new(), &mut leaves);
        for (path, name) in leaves {
            let hands_on = !matches!(item.vis, Visibility::Inherited);
            match self.absolute(&path) {
                Some(path) if hands_on => drop(self.file.handed_on.insert(name, path)),
                Some(path) => drop(self.file.named.insert(path)),
                None => {}
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if names.len() > 1 {
            self.name(&names);
        }
        visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    /// The paths in the definition of a macro, as `$crate::error::Error` and `crate::error::Error`.
    fn visit_item_macro(&mut self, item: &'ast ItemMacro) {
        let text = item.mac.tokens.to_string().replace(' ', "");
        for path in text.split("crate::").skip(1) {
            let path = path.split(|c: char| !(c.is_alphanumeric() || "_:".contains(c))).next();
            let path = path.unwrap_or_default().split("::").map(str::to_string);
            self.name(&["crate".to_string()].into_iter().chain(path).collect::<Vec<_>>());
        }
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

/// The paths of a use tree, and the names that they define.
fn leaves_of(tree: &UseTree, path: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, String)>) {
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            leaves_of(&part.tree, path, leaves);
            path.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves_of(tree, path, leaves)),
        UseTree::Name(name) if name.ident == "self" => {
            leaves.push((path.clone(), path.last().cloned().unwrap_or_default()));
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            leaves.push(([&path[..], std::slice::from_ref(&name)].concat(), name));
        }
        UseTree::Rename(part) => {
            let original = [&path[..], &[part.ident.to_string()]].concat();
            leaves.push((original, part.rename.to_string()));
        }
        UseTree::Glob(_) => leaves.push((path.clone(), "*".to_string())),
    }
}

/// All files of a folder, by module. `texts` are (path within the folder, text).
fn files_of(texts: &[(String, String)]) -> BTreeMap<Module, File> {
    let module = |path: &str| -> Module {
        let path = path.strip_suffix(".rs").unwrap_or(path);
        let path = path.strip_suffix("mod").unwrap_or(path);
        path.split('/')
            .filter(|part| !part.is_empty() && *part != "lib")
            .map(str::to_string)
            .collect()
    };
    let modules: BTreeSet<_> = texts.iter().map(|(path, _)| module(path)).collect();
    let read = texts.iter().map(|(path, text)| {
        let module = module(path);
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut reader = Reader { module: &module, modules: &modules, file: File::default() };
        for item in &parsed.items {
            if !matches!(item, Item::Mod(item) if is_for_tests(&item.attrs)) {
                reader.visit_item(item);
            }
        }
        let file = reader.file;
        (module, file)
    });
    read.collect()
}

/// The module that defines what a path names.
fn definer(files: &BTreeMap<Module, File>, path: &[String]) -> Option<Module> {
    let mut path = path.to_vec();
    // A name can be reexported several times.
    for _ in 0..10 {
        let depth = (0..=path.len()).rev().find(|&n| files.contains_key(&path[..n]))?;
        let (module, rest) = path.split_at(depth);
        match rest.first().and_then(|name| files[module].handed_on.get(name)) {
            Some(original) => path = [&original[..], &rest[1..]].concat(),
            None => return Some(module.to_vec()),
        }
    }
    panic!("{path:?} is handed on in a circle");
}

/// The modules that each module depends on.
fn dependencies(files: &BTreeMap<Module, File>) -> BTreeMap<Module, BTreeSet<Module>> {
    let of_file = |(module, file): (&Module, &File)| {
        let used = file.named.iter().filter_map(|path| definer(files, path));
        (module.clone(), used.filter(|used| used != module).collect())
    };
    files.iter().map(of_file).collect()
}

/// The dependencies that are part of a circle.
fn circle(graph: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let reached = |from| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            next.extend(
                graph.get(module).into_iter().flatten().filter(|used| reached.insert(*used)),
            );
        }
        reached
    };
    let arrows =
        graph.iter().flat_map(|(module, uses)| uses.iter().map(move |used| (module, used)));
    let circular = arrows.filter(|(module, used)| reached(used).contains(module));
    circular.map(|(module, used)| arrow(module, used)).collect()
}

fn arrow(module: &Module, used: &Module) -> String {
    format!("{} -> {}", module.join("::"), used.join("::"))
}

/// The dependencies on modules that are not below.
fn upwards(graph: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let row = |module: &Module| {
        let top = module.first().map_or("", String::as_str);
        ORDER.iter().position(|&part| part == top)
    };
    let arrows =
        graph.iter().flat_map(|(module, uses)| uses.iter().map(move |used| (module, used)));
    let wrong = arrows.filter(|(module, used)| {
        module.first() != used.first() && (row(module).is_none() || row(used) >= row(module))
    });
    wrong.map(|(module, used)| arrow(module, used)).collect()
}

fn texts_in(folder: &Path, within: &str, texts: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            texts_in(&path, &format!("{within}{name}/"), texts);
        } else if name.ends_with(".rs") {
            texts.push((format!("{within}{name}"), fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn modules_depend_on_each_other_in_one_direction() {
    let mut texts = Vec::new();
    texts_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut texts);
    let graph = dependencies(&files_of(&texts));
    assert!(graph.len() > 50, "found {} files", graph.len());
    assert_eq!(circle(&graph), [""; 0], "a circle");
    assert_eq!(upwards(&graph), [""; 0], "a dependency upwards");
}

fn graph_of(files: &[(&str, &str)]) -> BTreeMap<Module, BTreeSet<Module>> {
    let texts: Vec<_> = files.iter().map(|(p, t)| (p.to_string(), t.to_string())).collect();
    dependencies(&files_of(&texts))
}

#[test]
fn circles_are_found() {
    for files in [
        &[("a.rs", "use crate::b::B; struct A;"), ("b.rs", "use crate::a::A; struct B;")][..],
        // A circle through a reexported name, and through a path outside `use`.
        &[
            ("n/mod.rs", "mod x; mod y; pub use x::X;"),
            ("n/x.rs", "struct X; fn f() { super::y::g() }"),
            ("n/y.rs", "use super::X; fn g() {}"),
        ],
        // A folder that uses its child, which uses what the folder defines.
        &[("n/mod.rs", "mod x; use x::X; struct N;"), ("n/x.rs", "use super::N; struct X;")],
        &[("a.rs", "macro_rules! m { () => { $crate::b::f() } }"), ("b.rs", "use crate::a::m;")],
    ] {
        assert_ne!(circle(&graph_of(files)), [""; 0], "{files:?}");
    }
}

#[test]
fn what_is_no_circle_passes() {
    let graph = graph_of(&[
        ("lib.rs", "mod n; mod b; pub use n::X;"),
        ("n/mod.rs", "mod x; mod y; pub use x::X; struct N;"),
        ("n/x.rs", "use super::N; struct X;"),
        ("n/y.rs", "use super::X; #[cfg(test)] mod tests { use crate::b::B; }"),
        ("b.rs", "use crate::X; struct B;"),
    ]);
    assert_eq!(circle(&graph), [""; 0]);
}

#[test]
fn dependencies_upwards_are_found() {
    let graph = graph_of(&[("simd/mod.rs", "use crate::view::Rows;"), ("view/mod.rs", "")]);
    assert_eq!(upwards(&graph), ["simd -> view"]);
    let graph = graph_of(&[("new.rs", "use crate::view::Rows;"), ("view/mod.rs", "")]);
    assert_eq!(upwards(&graph), ["new -> view"], "a module in no row");
}
