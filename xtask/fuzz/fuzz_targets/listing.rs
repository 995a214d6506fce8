//! The list of a test binary's tests with their verdicts.

#![no_main]

use kata_test_runner::Listing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(listing) = Listing::parse(text) else {
        return;
    };
    assert!(listing.tests.len() + listing.facts.len() <= text.lines().count());
    for test in &listing.tests {
        assert_eq!(test.eligibility().is_none(), test.is_ignored());
        let reasons = test.eligibility().map_or(0, |one| one.reasons.len());
        assert!(reasons <= text.len() / 4);
    }
});
