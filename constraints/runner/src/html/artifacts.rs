//! The files that tests left.

use maud::{Markup, html};

use super::failures::name;
use super::{icon, section};
use crate::Record;

/// Every test that left files, in a table.
pub(super) fn of(outcomes: &[Record]) -> Markup {
    let mut with_files = outcomes.iter().filter(|one| one.artifacts.is_some());
    let list = html! {
        ul.cards {
            @for one in with_files.clone() {
                li class=(icon::class(one.outcome)) {
                    h3 { (icon::bare(one.outcome)) " " (name(&one.binary, &one.test)) }
                    (link(one))
                }
            }
        }
    };
    html! {
        @if with_files.next().is_some() {
            (section("artifacts", "Files of tests", "", &list))
        }
    }
}

/// The folder with the files of a test.
pub(super) fn link(one: &Record) -> Markup {
    html! {
        @if let Some(artifacts) = &one.artifacts {
            p {
                @if let Some(link) = artifacts.link() {
                    a href=(link) { (artifacts.folder) } ": "
                }
                (artifacts)
            }
        }
    }
}
