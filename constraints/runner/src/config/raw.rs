//! The configuration as it is written, and its conversion.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kata_test::__runner::parse_duration;
use kata_test_host::constraint::{Constraint, nearest, parse};
use regex_lite::Regex;
use serde::Deserialize;
use toml::Spanned;

use super::error::Mistake;
use super::rules::Rule;
use super::{
    Archive, Config, Excludes, ExpectFailure, NamedKernel, NamedPlace, SuspectPolicy, Suspects,
};
use crate::plan::words;
use crate::{Filter, Secrets, UserKind};

/// Places that need no definition, beside `vm:…`.
const PLACES: [&str; 3] = ["here", "sudo", "userns"];

/// The place whose kernel a command names.
const OWN_PLACE: &str = "own";

type Text = Spanned<String>;
type NamedPlaces = BTreeMap<String, NamedPlace>;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[derive(Default)]
pub(super) struct Raw {
    requirements: BTreeMap<Text, Text>,
    tests: Vec<RawRule>,
    places: BTreeMap<Text, RawPlace>,
    selection: RawSelection,
    vms: RawVms,
    suspects: RawSuspects,
    harness: RawHarness,
    package_files: RawFiles,
    secrets: RawSecrets,
    archive: Option<Archive>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawRule {
    filter: Text,
    requires: Option<Text>,
    user: Option<UserKind>,
    timeout: Option<Text>,
    retries: Option<u32>,
    expect_failure: Option<RawExpectFailure>,
    unstable: Option<Text>,
    places: Option<Spanned<Vec<Text>>>,
    parallel: Option<bool>,
    root_in_userns: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table, such as `{ issue = \"…\" }`"
)]
struct RawExpectFailure {
    requires: Option<Text>,
    issue: Option<Text>,
    message: Option<Text>,
    crash: bool,
    timeout: bool,
    sometimes: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawPlace {
    suite: Option<Text>,
    kernel: Option<Text>,
    modules: Option<Text>,
    kernel_args: Option<Text>,
    network: Option<Text>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct RawSelection {
    default_filter: Option<Text>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawVms {
    qemu: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawSuspects {
    pattern: Option<Text>,
    policy: SuspectPolicy,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct RawHarness {
    libtest_compatible: Vec<Text>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawSecrets {
    variables: Vec<Text>,
    allow: Vec<Text>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawFiles {
    exclude: Vec<Text>,
}

impl Raw {
    pub(super) fn config(self) -> Result<Config, Mistake> {
        let places: NamedPlaces = self
            .places
            .iter()
            .map(named_place)
            .collect::<Result<_, _>>()?;
        let mut rules = Vec::new();
        for rule in &self.tests {
            rules.push(rule.rule(&places)?);
        }
        for (filter, requires) in &self.requirements {
            rules.push(Rule {
                filter: parse_filter(filter)?,
                requires: constraints(requires)?,
                requires_text: Some(requires.get_ref().clone()),
                user: None,
                timeout: None,
                retries: None,
                expect_failure: None,
                unstable: None,
                places: None,
                parallel: None,
                root_in_userns: None,
            });
        }
        let pattern = self.suspects.pattern.as_ref().map(pattern).transpose()?;
        let default_filter = self.selection.default_filter.as_ref();
        let ids = self.harness.libtest_compatible.iter().map(binary_id);
        Ok(Config {
            rules,
            suspects: Suspects {
                pattern,
                policy: self.suspects.policy,
            },
            libtest_compatible: ids.collect::<Result<_, _>>()?,
            default_filter: default_filter.map(parse_filter).transpose()?,
            archive: self.archive,
            qemu: self.vms.qemu,
            package_files: excludes(self.package_files.exclude)?,
            secrets: secrets(self.secrets)?,
            places,
        })
    }
}

impl RawRule {
    fn rule(&self, named: &NamedPlaces) -> Result<Rule, Mistake> {
        let requires = self.requires.as_ref().map(constraints).transpose()?;
        let timeout = self.timeout.as_ref().map(|text| {
            parse_duration(text.get_ref()).ok_or_else(|| {
                let problem = "a timeout is a whole number above 0 and a unit, such as \"500ms\", \
                               \"30s\", \"5m\" or \"1h\"";
                Mistake::at(text.span(), problem)
            })
        });
        let places = self.places.as_ref().map(|list| {
            if list.get_ref().is_empty() {
                let problem = "the tests could run nowhere; name a place, or remove `places`";
                return Err(Mistake::at(list.span(), problem));
            }
            let places = list.get_ref().iter();
            places.map(|place| place_name(place, named)).collect()
        });
        let expect_failure = self.expect_failure.as_ref();
        let expect_failure = expect_failure.map(RawExpectFailure::expect_failure);
        Ok(Rule {
            filter: parse_filter(&self.filter)?,
            requires: requires.unwrap_or_default(),
            requires_text: self.requires.as_ref().map(|text| text.get_ref().clone()),
            user: self.user,
            timeout: timeout.transpose()?,
            retries: self.retries,
            expect_failure: expect_failure.transpose()?,
            unstable: self.unstable.as_ref().map(stated).transpose()?,
            places: places.transpose()?,
            parallel: self.parallel,
            root_in_userns: self.root_in_userns,
        })
    }
}

impl RawExpectFailure {
    fn expect_failure(&self) -> Result<ExpectFailure, Mistake> {
        let requires = self.requires.as_ref().map(constraints).transpose()?;
        Ok(ExpectFailure {
            constraints: requires.unwrap_or_default(),
            constraints_text: self.requires.as_ref().map(|text| text.get_ref().clone()),
            issue: self.issue.as_ref().map(stated).transpose()?,
            message: self.message.as_ref().map(stated).transpose()?,
            crash: self.crash,
            timeout: self.timeout,
            sometimes: self.sometimes,
        })
    }
}

/// A text that is not empty.
fn stated(text: &Text) -> Result<String, Mistake> {
    match text.get_ref().trim() {
        "" => Err(Mistake::at(
            text.span(),
            "it is empty; state it, or remove the key",
        )),
        stated => Ok(stated.to_owned()),
    }
}

fn parse_filter(text: &Text) -> Result<Filter, Mistake> {
    let filter = text.get_ref().parse::<Filter>();
    filter.map_err(|error| Mistake::at(text.span(), format!("invalid filter: {error}")))
}

fn constraints(text: &Text) -> Result<Vec<Constraint>, Mistake> {
    match parse(text.get_ref()) {
        Ok(list) if list.is_empty() => Err(Mistake::at(
            text.span(),
            "no constraint; write one as in the attribute, such as \"root\"",
        )),
        Ok(list)
            if list
                .iter()
                .any(|one| words(&one.to_string()).any(|word| word == "isolated_network")) =>
        {
            Err(Mistake::at(
                text.span(),
                "only a test with the attribute can have `isolated_network`, since its harness creates the network",
            ))
        }
        Ok(list) => Ok(list),
        Err(error) => Err(Mistake::at(text.span(), error.to_string())),
    }
}

/// Returns the name of an existing place, or the one that a name of the configuration stands for.
fn place_name(place: &Text, named: &NamedPlaces) -> Result<String, Mistake> {
    let name = place.get_ref();
    if let Some(named) = named.get(name) {
        return Ok(named.place(name));
    }
    let is_vm = name.strip_prefix("vm:").is_some_and(|vm| !vm.is_empty());
    if is_vm || PLACES.contains(&name.as_str()) {
        return Ok(name.clone());
    }
    let names = named.keys().map(String::as_str);
    let known: Vec<&str> = PLACES.into_iter().chain(names).collect();
    let problem = match nearest(name, &known) {
        Some(index) => format!("unknown place {name:?}; did you mean {:?}?", known[index]),
        None => format!(
            "unknown place {name:?}; define it in [places.NAME], or use vm:SUITE or one of {}",
            known.join(", ")
        ),
    };
    Err(Mistake::at(place.span(), problem))
}

fn named_place((name, place): (&Text, &RawPlace)) -> Result<(String, NamedPlace), Mistake> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let text = name.get_ref();
    if PLACES.contains(&text.as_str()) || ["all", OWN_PLACE].contains(&text.as_str()) {
        return Err(Mistake::at(
            name.span(),
            format!("the place {text:?} exists; choose another name"),
        ));
    }
    if text.is_empty() || !text.chars().all(is_letter) {
        let problem = "the name of a place has letters, digits, `-`, `_` and `.`";
        return Err(Mistake::at(name.span(), problem));
    }
    let kernel = match (&place.suite, &place.kernel, &place.modules) {
        (Some(suite), None, None) => {
            let name = suite.get_ref();
            if name.is_empty() || !name.chars().all(is_letter) {
                let problem = "a suite is the name of a release, such as \"bookworm\"";
                return Err(Mistake::at(suite.span(), problem));
            }
            NamedKernel::Suite(name.clone())
        }
        (None, Some(kernel), modules) => NamedKernel::Own {
            kernel: path(kernel)?,
            modules: modules.as_ref().map(path).transpose()?,
        },
        (Some(_), _, Some(_)) | (Some(_), Some(_), None) | (None, None, _) => {
            let problem =
                "a place has either `suite`, or `kernel` and, if it has modules, `modules`";
            return Err(Mistake::at(name.span(), problem));
        }
    };
    let kernel_args = place.kernel_args.as_ref().map(kernel_args).transpose()?;
    let place = NamedPlace {
        kernel,
        kernel_args: kernel_args.unwrap_or_default(),
        network: place.network.as_ref().map(network).transpose()?.is_some(),
    };
    Ok((text.clone(), place))
}

fn path(text: &Text) -> Result<PathBuf, Mistake> {
    match text.get_ref().as_str() {
        "" => Err(Mistake::at(text.span(), "expected a path")),
        path => Ok(PathBuf::from(path)),
    }
}

fn network(text: &Text) -> Result<(), Mistake> {
    match text.get_ref().as_str() {
        "user" => Ok(()),
        other => {
            let problem = format!("unknown network {other:?}; expected \"user\"");
            Err(Mistake::at(text.span(), problem))
        }
    }
}

fn kernel_args(text: &Text) -> Result<String, Mistake> {
    let args = text.get_ref();
    match args.contains(char::is_control) {
        true => Err(Mistake::at(
            text.span(),
            "arguments of a kernel are one line",
        )),
        false => Ok(args.trim().to_owned()),
    }
}

fn pattern(text: &Text) -> Result<Regex, Mistake> {
    let invalid = |error| format!("invalid regular expression: {error}");
    Regex::new(text.get_ref()).map_err(|error| Mistake::at(text.span(), invalid(error)))
}

fn binary_id(text: &Text) -> Result<String, Mistake> {
    let id = text.get_ref();
    if id.is_empty() || id.contains(char::is_whitespace) {
        let problem =
            "expected a binary id, such as \"package::target\" or \"package::bin/target\"";
        return Err(Mistake::at(text.span(), problem));
    }
    Ok(id.clone())
}

fn excludes(patterns: Vec<Text>) -> Result<Excludes, Mistake> {
    let spans: Vec<_> = patterns.iter().map(Spanned::span).collect();
    let patterns = patterns.into_iter().map(Spanned::into_inner).collect();
    Excludes::new(patterns).map_err(|(index, problem)| Mistake::at(spans[index].clone(), problem))
}

fn secrets(raw: RawSecrets) -> Result<Secrets, Mistake> {
    let [variables, allow] = [raw.variables, raw.allow];
    let texts = |list: &[Text]| list.iter().map(|text| text.get_ref().clone()).collect();
    Secrets::new(texts(&variables), texts(&allow)).map_err(|(is_allowed, index, problem)| {
        let list = if is_allowed { &allow } else { &variables };
        Mistake::at(list[index].span(), problem)
    })
}
