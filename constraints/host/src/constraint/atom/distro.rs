//! Distributions, by the id and the version of os-release(5).

use crate::constraint::atom::{Kind, Versioned};
use crate::constraint::evaluator::Evaluator;
use crate::constraint::range::Range;
use crate::constraint::text::{cut, try_const};
use crate::facts::Question;
use crate::verdict::Verdict;

const ID: &str = "expected the ID of an os-release file, such as \"ubuntu\" or \"opensuse-leap\"";

pub(crate) const fn distro(text: &'static str) -> Result<Kind, &'static str> {
    let end = id_end(text.as_bytes());
    let name = cut(text, 0, end);
    if name.is_empty() {
        return Err(ID);
    }
    let after =
        "only a comparison may follow the ID of a distribution, such as \"ubuntu >= 22.04\"";
    let versions = try_const!(Range::after_name(text, end, ID, after));
    Ok(Kind::Distro(Versioned { name, versions }))
}

pub(crate) const fn like(id: &'static str) -> Result<Kind, &'static str> {
    if id_end(id.as_bytes()) == id.len() && !id.is_empty() {
        Ok(Kind::DistroLike(id))
    } else {
        Err(ID)
    }
}

/// os-release's own rule: lower-case letters, digits, and `._-`.
const fn id_end(bytes: &[u8]) -> usize {
    let mut end = 0;
    while end < bytes.len() && matches!(bytes[end], b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-')
    {
        end += 1;
    }
    end
}

pub(crate) fn decide(distro: &Versioned, evaluator: &Evaluator<'_>) -> Verdict {
    evaluator.decide(Question::Distro, &|seen| {
        let (id, version) = seen.text.split_once(' ').unwrap_or((seen.text, ""));
        let observed = || format!("this is {}", seen.text);
        match &distro.versions {
            _ if id != distro.name => seen.unmet(&observed),
            None => seen.met(&observed),
            Some(versions) => seen.met_if_known(
                versions.contains(|required| required.compare_numbers(version, false)),
                &observed,
                &|| match version {
                    "" => format!("{id} has no VERSION_ID"),
                    version => {
                        format!("VERSION_ID {version} is less precise than the requirement")
                    }
                },
            ),
        }
    })
}

pub(crate) fn decide_like(id: &str, evaluator: &Evaluator<'_>) -> Verdict {
    evaluator.decide(Question::DistroLike, &|seen| {
        let (own, like) = seen.text.split_once(' ').unwrap_or((seen.text, ""));
        let is = seen.text.split_ascii_whitespace().any(|word| word == id);
        seen.met_if(is, &|| match like {
            "" => format!("this is {own} (no ID_LIKE)"),
            like => format!("this is {own} (ID_LIKE {like})"),
        })
    })
}
