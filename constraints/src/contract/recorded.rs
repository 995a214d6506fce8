//! A recorded host, which `KATA_TEST_FACTS` puts in the place of this one.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::FACTS;
use crate::facts::{Answer, Finding, Host, Question};
use crate::json::Json;
use crate::names::place;

/// A recorded host: its answers, in the order of the texts of their questions.
#[derive(Debug)]
pub(crate) struct Recorded {
    answers: Vec<(String, Answer)>,
    missing: Answer,
    /// How often an answer was missing.
    missing_count: AtomicUsize,
}

impl Recorded {
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path)
            .map_err(|error| format!("{FACTS}: cannot read {}: {error}", path.display()))?;
        Self::parse(&text, path)
            .map_err(|problem| format!("{FACTS}: {}: {problem}", path.display()))
    }

    /// Reads what `cargo kata-test facts --json` prints, or its facts alone, as a list or a line each:
    /// `{"question":"kernel release","finding":"is","text":"6.1.0","source":"uname"}`.
    fn parse(text: &str, path: &Path) -> Result<Self, String> {
        let values = Json::read_all(text).map_err(|at| {
            let line = 1 + text[..at].matches('\n').count();
            format!("line {line} is not JSON")
        })?;
        let mut answers = Vec::new();
        for value in &values {
            let facts = value.get("facts").unwrap_or(value);
            let facts = match facts {
                Json::List(facts) => &facts[..],
                fact => std::slice::from_ref(fact),
            };
            for fact in facts {
                let (question, answer) = read_fact(fact)?;
                // The last answer to a question counts.
                match place(&answers, &question) {
                    Ok(at) => answers[at].1 = answer,
                    Err(at) => answers.insert(at, (question, answer)),
                }
            }
        }
        if answers.is_empty() {
            return Err("no facts".to_owned());
        }
        let missing = Finding::Unknown("not recorded".to_owned());
        let file = PathBuf::from(path.file_name().unwrap_or_default());
        Ok(Self {
            answers,
            missing: Answer::new(missing, file.display().to_string()),
            missing_count: AtomicUsize::new(0),
        })
    }

    /// The answer to a question that was not recorded.
    pub(crate) fn missing(&self) -> &Answer {
        self.missing_count.fetch_add(1, Ordering::Relaxed);
        &self.missing
    }

    /// How many questions had no recorded answer until now.
    pub(crate) fn missing_count(&self) -> usize {
        self.missing_count.load(Ordering::Relaxed)
    }
}

fn read_fact(fact: &Json) -> Result<(String, Answer), String> {
    let text = |key| {
        let missing = || format!("a fact has no text for `{key}`");
        fact.text(key).map(str::to_owned).ok_or_else(missing)
    };
    let question = text("question")?;
    let word = text("finding")?;
    let finding = Finding::from_parts(&word, text("text")?).ok_or_else(|| {
        format!("the finding about {question:?} is {word:?}, not is, absent or unknown")
    })?;
    Ok((question, Answer::new(finding, text("source")?)))
}

impl Host for Recorded {
    fn ask(&self, question: Question) -> Cow<'_, Answer> {
        let known = place(&self.answers, &question.to_string());
        Cow::Borrowed(match known {
            Ok(at) => &self.answers[at].1,
            Err(_) => self.missing(),
        })
    }
}

#[cfg(test)]
mod tests {
    //! Scope: reading. A list against a recorded host is tested with the sample binaries.

    use super::*;

    const FACT: &str =
        r#"{"question":"kernel release","finding":"is","text":"6.1.0","source":"uname"}"#;
    const OTHER: &str =
        r#"{"question":"command qemu-img","finding":"absent","text":"none","source":"PATH"}"#;

    fn parse(text: &str) -> Result<Recorded, String> {
        Recorded::parse(text, Path::new("/somewhere/host.json"))
    }

    #[test]
    fn lines_lists_and_documents_are_the_same() {
        for text in [
            format!("{FACT}\n{OTHER}\n"),
            format!("[{FACT},{OTHER}]"),
            format!(r#"{{"schema":1,"facts":[{FACT},{OTHER}],"verdicts":[]}}"#),
        ] {
            let host = parse(&text).expect("facts");
            let release = host.ask(Question::KernelRelease).into_owned();
            assert_eq!(release, Answer::new(Finding::Is("6.1.0".into()), "uname"));
            let command = host.ask(Question::Command("qemu-img")).into_owned();
            assert_eq!(command.finding, Finding::Absent("none".into()));
            let missing = host.ask(Question::Command("qemu-nbd")).into_owned();
            let expected = Finding::Unknown("not recorded".into());
            assert_eq!(missing, Answer::new(expected, "host.json"));
        }
    }

    #[test]
    fn a_file_without_facts_is_refused() {
        for (text, problem) in [
            ("", "no facts"),
            ("[]", "no facts"),
            ("{}\n", "a fact has no text for `question`"),
            (&format!("{FACT}\n{{"), "line 2 is not JSON"),
            (
                &FACT.replace("\"is\"", "\"was\""),
                "the finding about \"kernel release\" is \"was\", not is, absent or unknown",
            ),
            (
                &FACT.replace("source", "place"),
                "a fact has no text for `source`",
            ),
        ] {
            assert_eq!(parse(text).expect_err(text), problem);
        }
        let missing = Recorded::read(Path::new("/no/such/file")).expect_err("no file");
        assert!(
            missing.starts_with("KATA_TEST_FACTS: cannot read /no/such/file: "),
            "{missing}"
        );
    }
}
