//! Checks of package metadata: what a published package needs, and the licences of dependencies.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cargo_kata_test::cli::cargo;
use serde_json::Value;

/// The licences that a dependency may have, one of them if it offers a choice.
const LICENCES: [&str; 4] = ["Apache-2.0", "MIT", "Unicode-3.0", "Unlicense"];

/// How the source of a package begins that comes from a registry, not from a repository.
const REGISTRY: &str = "registry+";

fn metadata() -> Result<Value> {
    let args = [
        "metadata",
        "--format-version=1",
        "--locked",
        "--all-features",
    ];
    let output = cargo::cargo().args(args).output()?;
    ensure!(
        output.status.success(),
        "cargo metadata ended with {}",
        output.status
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn packages() -> Result<Vec<Value>> {
    let mut metadata = metadata()?;
    let packages = metadata["packages"].as_array_mut().context("no packages")?;
    Ok(std::mem::take(packages))
}

#[test]
fn published_packages_have_metadata_and_documents() -> Result<()> {
    let mut problems = Vec::new();
    let mut published = 0;
    for package in packages()? {
        let is_ours = package["source"].is_null();
        if !is_ours || package["publish"] == serde_json::json!([]) {
            continue;
        }
        published += 1;
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = package["manifest_path"].as_str().context("no manifest")?;
        let folder = Path::new(manifest).parent().context("no folder")?;
        for field in ["description", "license", "readme", "rust_version"] {
            if package[field].as_str().is_none_or(str::is_empty) {
                problems.push(format!("{name}: `{field}` is missing"));
            }
        }
        for field in ["keywords", "categories"] {
            let count = package[field].as_array().map_or(0, Vec::len);
            if !(1..=5).contains(&count) {
                problems.push(format!("{name}: {count} {field} instead of 1 to 5"));
            }
        }
        for file in ["LICENSE", "README.md"] {
            if !folder.join(file).is_file() {
                problems.push(format!("{name}: {file} is missing"));
            }
        }
        if package["metadata"]["docs"]["rs"]["all-features"] != true {
            problems.push(format!("{name}: docs.rs would not build all features"));
        }
        if !std::fs::read_to_string(manifest)?.contains("\ninclude = [") {
            problems.push(format!("{name}: `include` is missing"));
        }
    }
    ensure!(published >= 11, "only {published} packages are published");
    ensure!(problems.is_empty(), "\n{}", problems.join("\n"));
    Ok(())
}

#[test]
fn the_readme_installs_the_program_from_its_folder() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let root = root.context("no root")?;
    let readme = std::fs::read_to_string(root.join("README.md"))?;
    let line = readme.lines().find(|line| line.contains("cargo install"));
    let folder = line.and_then(|line| line.strip_prefix("$ cargo install --locked --path "));
    let manifest = root
        .join(folder.context("no such line")?)
        .join("Cargo.toml");
    let package = packages()?.into_iter().find(|package| {
        package["manifest_path"].as_str().map(Path::new) == Some(manifest.as_path())
    });
    let package = package.with_context(|| format!("no package {}", manifest.display()))?;
    let targets = package["targets"].as_array().context("no targets")?;
    let is_it = |target: &Value| target["kind"][0] == "bin" && target["name"] == "cargo-kata-test";
    ensure!(targets.iter().any(is_it), "{targets:?}");
    Ok(())
}

#[test]
fn dependencies_have_allowed_licences_and_come_from_the_registry() -> Result<()> {
    let mut problems = Vec::new();
    for package in packages()? {
        let name = &package["name"];
        let licence = package["license"].as_str().unwrap_or_default();
        if !is_allowed(licence) {
            problems.push(format!(
                "{name}: licence {licence:?}; allowed: {LICENCES:?}"
            ));
        }
        if let Some(source) = package["source"]
            .as_str()
            .filter(|source| !source.starts_with(REGISTRY))
        {
            problems.push(format!("{name} comes from {source}"));
        }
    }
    ensure!(problems.is_empty(), "\n{}", problems.join("\n"));
    Ok(())
}

/// Evaluates an SPDX expression, in which `/` is an old form of `OR`. Parentheses group an `OR`
/// within an `AND`; no dependency nests deeper.
fn is_allowed(expression: &str) -> bool {
    let any = |text: &str| {
        let text = text.trim_matches(['(', ')']);
        text.split(" OR ").any(|id| LICENCES.contains(&id.trim()))
    };
    expression.replace('/', " OR ").split(" AND ").all(any)
}

#[test]
fn licence_expressions_are_evaluated() {
    for allowed in [
        "MIT",
        "MIT/Apache-2.0",
        "LGPL-2.1 OR MIT",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
    ] {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR Apache-2.0) AND GPL-3.0",
    ] {
        assert!(!is_allowed(refused), "{refused}");
    }
}
