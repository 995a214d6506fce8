//! The page of records: the fields of each type that is printed as JSON, with the documentation of each field.
//!
//! The types are read from their sources, and what is printed is compared with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use kata_test::__runner::{Artifacts, Outcome, Phase, RecordLine};
use kata_test::Reason;
use kata_test_runner::Record;
use serde_json::Value;
use syn::{Attribute, Expr, Field, Fields, GenericArgument, Item, Lit, Meta, PathArguments, Type};

/// What is printed, and the types of it.
struct Document {
    heading: &'static str,
    about: &'static str,
    /// The file with the type of the whole, and its name.
    root: (&'static str, &'static str),
    /// Files with the types in it.
    files: &'static [&'static str],
}

const RECORD: Document = Document {
    heading: "A record",
    about: "A line of `target/kata-test/latest/outcomes.jsonl` (`DIR/latest/` with `KATA_TEST_RECORD_DIR=DIR`): one \
            for each test, or for each test and place with `--everywhere`. The processes of a run write lines of \
            the same form into the run's folder: one when a test starts, with the outcome `lost`, and one when it \
            has ended.",
    root: ("constraints/runner/src/record.rs", "Record"),
    files: &["constraints/runner/src/artifacts.rs"],
};

const PLAN: Document = Document {
    heading: "A plan",
    about: "`cargo kata-test plan --json` prints one object.",
    root: ("constraints/runner/src/plan_document.rs", "Document"),
    files: &["constraints/runner/src/record.rs"],
};

const FACTS: Document = Document {
    heading: "Facts",
    about: "`cargo kata-test facts --json` prints one object; `KATA_TEST_FACTS` and `plan --facts` read it.",
    root: ("iothread-it/cargo-kata-test/src/cli/facts.rs", "Document"),
    files: &[],
};

const DOCTOR: Document = Document {
    heading: "What works on a machine",
    about: "`cargo kata-test facts --doctor --json` prints one object.",
    root: (
        "iothread-it/cargo-kata-test/src/cli/doctor/mod.rs",
        "Document",
    ),
    files: &["iothread-it/cargo-kata-test/src/cli/doctor/check.rs"],
};

const PLACES: Document = Document {
    heading: "Places",
    about: "`cargo kata-test facts --places --json` prints one object.",
    root: ("iothread-it/cargo-kata-test/src/cli/offers.rs", "Document"),
    files: &[],
};

/// A field, by its path: `reasons[].kind`.
#[derive(Debug)]
struct Row {
    path: String,
    kind: String,
    doc: String,
}

/// The fields of the types in files, by the name of the type.
struct Types(BTreeMap<String, Vec<Field>>);

impl Types {
    fn read(document: &Document) -> Self {
        let mut types = Self(BTreeMap::new());
        // The type of the whole has the name of others.
        for file in document.files.iter().chain([&document.root.0]) {
            let text = fs::read_to_string(root().join(file)).unwrap();
            types.add(syn::parse_file(&text).unwrap().items);
        }
        types
    }

    fn add(&mut self, items: Vec<Item>) {
        for item in items {
            match item {
                Item::Struct(one) => {
                    if let Fields::Named(fields) = one.fields {
                        let fields = fields.named.into_iter().collect();
                        self.0.insert(one.ident.to_string(), fields);
                    }
                }
                Item::Mod(module) => self.add(module.content.unwrap_or_default().1),
                _ => {}
            }
        }
    }

    fn rows(&self, name: &str, path: &str, rows: &mut Vec<Row>) {
        for field in &self.0[name] {
            let path = format!("{path}{}", field.ident.as_ref().unwrap());
            let doc = doc(&field.attrs);
            assert!(!doc.is_empty(), "{name}: {path} has no documentation");
            let mut form = self.form(&field.ty);
            if serde_words(&field.attrs).contains("skip_serializing_if") {
                form.kind = form.kind.replace(" or null", "") + ", or left out";
            }
            rows.push(Row {
                path: path.clone(),
                kind: form.kind,
                doc,
            });
            if let Some((inner, suffix)) = form.inner {
                self.rows(&inner, &format!("{path}{suffix}."), rows);
            }
        }
    }

    fn form(&self, ty: &Type) -> Form {
        let plain = |kind: &str| Form {
            kind: kind.to_owned(),
            inner: None,
        };
        let list = |of: Form| Form {
            kind: format!("array of {}", plural(&of.kind)),
            inner: of.inner.map(|(name, suffix)| (name, format!("[]{suffix}"))),
        };
        match ty {
            Type::Reference(reference) => self.form(&reference.elem),
            Type::Slice(slice) => list(self.form(&slice.elem)),
            Type::Path(path) => {
                let segment = path.path.segments.last().unwrap();
                let name = segment.ident.to_string();
                let argument = || match &segment.arguments {
                    PathArguments::AngleBracketed(arguments) => arguments
                        .args
                        .iter()
                        .rev()
                        .find_map(|one| match one {
                            GenericArgument::Type(ty) => Some(self.form(ty)),
                            _ => None,
                        })
                        .unwrap(),
                    _ => panic!("{name} of what?"),
                };
                match name.as_str() {
                    "str" | "String" | "Flavour" => plain("string"),
                    "u32" | "u64" => plain("integer"),
                    "f64" => plain("number"),
                    "bool" => plain("boolean"),
                    "Outcome" => plain(&words(Outcome::ALL.map(Outcome::word))),
                    "Phase" => plain(&words([Phase::List, Phase::Run].map(Phase::word))),
                    "Option" => Form {
                        kind: argument().kind + " or null",
                        ..argument()
                    },
                    "Vec" => list(argument()),
                    // With `serde(with)`, and by a type of its own.
                    "Reason" => self.object("Form"),
                    "Reasons" => list(self.object("Form")),
                    "BTreeMap" => plain(&format!("object of {}", plural(&argument().kind))),
                    _ => self.object(&name),
                }
            }
            _ => panic!("a type that has no form in JSON"),
        }
    }

    fn object(&self, name: &str) -> Form {
        assert!(self.0.contains_key(name), "{name} is in none of the files");
        Form {
            kind: "object".to_owned(),
            inner: Some((name.to_owned(), String::new())),
        }
    }
}

/// How a type is written in JSON. What is in it has a type of its own, and so many `[]` before its fields.
struct Form {
    kind: String,
    inner: Option<(String, String)>,
}

fn words<const N: usize>(words: [&str; N]) -> String {
    format!("`{}`", words.join("`, `"))
}

fn plural(kind: &str) -> String {
    format!("{kind}s")
}

fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|one| match &one.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(text) => match &text.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ")
}

/// What is in `#[serde(…)]`.
fn serde_words(attributes: &[Attribute]) -> String {
    let lists = attributes.iter().filter_map(|one| match &one.meta {
        Meta::List(list) if list.path.is_ident("serde") => Some(list.tokens.to_string()),
        _ => None,
    });
    lines_of(lists)
}

fn lines_of(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join("\n")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn rows(document: &Document) -> Vec<Row> {
    let mut rows = Vec::new();
    Types::read(document).rows(document.root.1, "", &mut rows);
    rows
}

#[test]
fn records() {
    let mut page = "# Records and other JSON\n\nNew fields may be added to each of these; `schema` changes if a field \
        changes its meaning or is removed. `[]` stands for the elements of an array.\n"
        .to_owned();
    for document in [&RECORD, &PLAN, &FACTS, &DOCTOR, &PLACES] {
        let _ = write!(
            page,
            "\n## {}\n\n{}\n\n| field | type | meaning |\n|---|---|---|\n",
            document.heading, document.about
        );
        for Row { path, kind, doc } in rows(document) {
            let doc = doc.replace("[`", "`").replace("`]", "`");
            let _ = writeln!(page, "| `{path}` | {kind} | {doc} |");
        }
    }
    super::check("records.md", &page);
}

/// The fields of values, each with the types that it has.
fn printed(values: &[Value]) -> BTreeMap<String, BTreeSet<&'static str>> {
    fn add(value: &Value, path: &str, found: &mut BTreeMap<String, BTreeSet<&'static str>>) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_u64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(list) => {
                let path = format!("{path}[]");
                for one in list.iter().filter(|one| one.is_object()) {
                    add(one, &path, found);
                }
                "array"
            }
            Value::Object(fields) => {
                // Names of the user's own.
                for (name, value) in fields.iter().filter(|_| path != "measures") {
                    let dot = if path.is_empty() { "" } else { "." };
                    add(value, &format!("{path}{dot}{name}"), found);
                }
                "object"
            }
        };
        if !path.is_empty() && !path.ends_with("[]") {
            found.entry(path.to_owned()).or_default().insert(kind);
        }
    }
    let mut found = BTreeMap::new();
    for value in values {
        add(value, "", &mut found);
    }
    found
}

/// Each field that is printed is on the page, with its type, and each of the page is printed.
#[track_caller]
fn compare(document: &Document, values: &[Value]) {
    let rows = rows(document);
    let printed = printed(values);
    let described: BTreeSet<&str> = rows.iter().map(|row| row.path.as_str()).collect();
    let found: BTreeSet<&str> = printed.keys().map(String::as_str).collect();
    assert_eq!(found, described, "{}", document.heading);
    for Row { path, kind, .. } in rows {
        for found in &printed[&path] {
            let is_it = match *found {
                // One of some words.
                "string" => kind.starts_with("string") || kind.starts_with('`'),
                "integer" => kind.starts_with("integer") || kind.starts_with("number"),
                "null" => kind.ends_with("null"),
                other => kind.starts_with(other),
            };
            assert!(is_it, "{}: {path} is {found}, not {kind}", document.heading);
        }
    }
}

/// A line that the harness writes, with what the runner adds. It is read and written again.
#[test]
fn a_record_has_the_fields_of_the_page() {
    let reasons = [
        Reason::constraint("root", "effective uid is 1000", "geteuid"),
        Reason::runtime_skip("no disk", "a.rs:7"),
    ];
    let line = RecordLine {
        binary: "pkg::it",
        test: "a::b",
        phase: Phase::Run,
        attempt: 1,
        outcome: Outcome::Failed,
        reasons: &reasons,
        issue: Some("x/1"),
        reason: Some("it is so"),
        signal: Some("SIGSEGV"),
        as_uid: None,
        duration_ms: 0.25,
        measures: &vec![("attach_ms".into(), 12.5)],
        artifacts: Some(&Artifacts {
            folder: "artifacts/here/p/b/1".to_owned(),
            files: 2,
            bytes: 7,
        }),
    };
    let mut value: Value = serde_json::from_str(&line.to_line("7-8", "here", 1000)).unwrap();
    value["suspect"] = "skipping: no disk".into();
    value["output"] = "skipping: no disk\n".into();
    value["kernel_messages"] = vec!["WARNING: one"].into();
    value["artifacts"]["left_out"] = vec!["a: too large"].into();
    let record: Record = serde_json::from_value(value).unwrap();
    compare(&RECORD, &[serde_json::to_value(&record).unwrap()]);
}

#[test]
fn a_plan_has_the_fields_of_the_page() {
    let snapshot = "constraints/runner/src/snapshots/\
        kata_test_runner__plan_document__tests__a_plan_is_a_document_of_schema_1.snap";
    let text = fs::read_to_string(root().join(snapshot)).unwrap();
    let text = text.splitn(3, "---\n").nth(2).unwrap();
    compare(&PLAN, &[serde_json::from_str(text).unwrap()]);
}

fn facts(arguments: &[&str]) -> Value {
    let (_, text) = super::kata_test(&[&["facts", "--json"], arguments].concat());
    serde_json::from_str(&text).unwrap()
}

#[test]
fn facts_have_the_fields_of_the_page() {
    compare(&FACTS, &[facts(&["command = \"no-such-program\""])]);
    compare(&DOCTOR, &[facts(&["--doctor"])]);
}

/// The kernels of an archive, without a QEMU.
#[test]
fn places_have_the_fields_of_the_page() {
    let snapshot = "iothread-it/cargo-kata-test/src/cli/snapshots/\
        cargo_kata_test__cli__offers__tests__json.snap";
    let text = fs::read_to_string(root().join(snapshot)).unwrap();
    let text = text.splitn(3, "---\n").nth(2).unwrap();
    compare(&PLACES, &[serde_json::from_str(text).unwrap()]);
}
