//! The report, and the book, in a real browser, without a window: what it shows is what was recorded, nothing is
//! wrong on its console, and it loads nothing from elsewhere.
//!
//! Where there is no Chromium these tests are skipped, and say so.

mod devtools;
mod page;

use kata_test::{Verdict, kata_test};
use serde_json::{Value, json};

use devtools::Browser;
use page::{EVIL, Report};

kata_test::main!();

/// What a reader sees of the matrix: binary, test, and for each place a word.
const MATRIX: &str = r#"[...document.querySelectorAll("table.matrix")].flatMap((table) => {
    const places = [...table.querySelectorAll("thead th.place")].map((head) => head.innerText.trim());
    return [...table.querySelectorAll("tbody tr")].flatMap((row) =>
        [...row.querySelectorAll("td.cell")].flatMap((cell, at) => {
            const sign = cell.querySelector("[role=img]");
            const name = row.querySelector("th .name").textContent;
            return sign ? [[table.dataset.binary, name, places[at], sign.ariaLabel]] : [];
        }));
})"#;

#[kata_test(command = "chromium", timeout = "120s")]
fn the_matrix_is_what_was_recorded() {
    let report = Report::of_every_outcome();
    let mut browser = Browser::start();
    browser.open(&report.file());
    let mut shown: Vec<[String; 4]> = read(browser.evaluate(MATRIX));
    shown.sort();
    assert_eq!(shown, report.expected());
    browser.has_no_complaint();
    assert_eq!(browser.requests(), [format!("file://{}", report.file())]);
}

#[kata_test(command = "chromium", timeout = "120s")]
fn a_hostile_name_stays_a_text() {
    let report = Report::of_every_outcome();
    let mut browser = Browser::start();
    browser.open(&report.file());
    let found = browser.evaluate(&format!(
        "[...document.querySelectorAll('.name')].filter((name) => name.textContent === {}).length",
        json!(EVIL)
    ));
    assert!(
        found.as_u64() >= Some(2),
        "among the failures and in the matrix: {found}"
    );
    let made =
        "[document.querySelectorAll('main b.evil, main script, img').length, window.evil ?? 0]";
    assert_eq!(browser.evaluate(made), json!([0, 0]));
    browser.has_no_complaint();
}

#[kata_test(command = "chromium", timeout = "120s")]
fn the_filter_keeps_matching_rows() {
    let report = Report::of_every_outcome();
    let mut browser = Browser::start();
    browser.open(&report.file());
    let visible = "[...document.querySelectorAll('table.matrix tbody tr')]
        .filter((row) => row.checkVisibility()).map((row) => row.dataset.outcome).sort()";
    let type_in = |text: &str| {
        format!(
            "new Promise((done) => {{
                const box = document.getElementById('filter');
                box.value = {};
                box.dispatchEvent(new Event('input'));
                requestAnimationFrame(() => requestAnimationFrame(done));
            }})",
            json!(text)
        )
    };
    // By a reason, by a place, by two words of which no test has both.
    browser.evaluate(&type_in("kernel >= 7.0"));
    assert_eq!(
        browser.evaluate(visible),
        json!(["nowhere", "passed", "undetermined"])
    );
    browser.evaluate(&type_in("vm:sid"));
    assert_eq!(browser.evaluate(visible), json!(["passed", "timed-out"]));
    browser.evaluate(&type_in("vm:sid nobody"));
    assert_eq!(browser.evaluate(visible), json!([]));
    let shown = "document.getElementById('shown').textContent";
    assert_eq!(browser.evaluate(shown), json!("0 of 12 tests"));
    browser.evaluate(&type_in(""));
    let press =
        |kind: &str| format!("document.querySelector('button[data-outcome={kind}]').click()");
    browser.evaluate(&press("lost"));
    browser.evaluate(&press("skipped"));
    assert_eq!(browser.evaluate(visible), json!(["lost", "skipped"]));
    browser.has_no_complaint();
}

#[kata_test(command = "chromium", timeout = "120s")]
fn the_page_has_a_light_and_a_dark_scheme() {
    let report = Report::of_every_outcome();
    let mut browser = Browser::start();
    let mut papers = Vec::new();
    for light in ["light", "dark"] {
        browser.prefers(light);
        browser.open(&report.file());
        papers.push(browser.evaluate("getComputedStyle(document.body).backgroundColor"));
    }
    assert_ne!(papers[0], papers[1]);
    browser.has_no_complaint();
}

/// Texts whose contrast with what is behind them is below level AA of WCAG 2.2 (1.4.3): 4.5, or 3 if they are large.
const LOW_CONTRAST: &str = r#"(() => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
    const paint = canvas.getContext("2d", { willReadFrequently: true });
    const over = (colors) => {
        paint.clearRect(0, 0, 1, 1);
        for (const color of colors) { paint.fillStyle = color; paint.fillRect(0, 0, 1, 1); }
        return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const luminance = (rgb) => {
        const [r, g, b] = rgb.map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => element ? [...behind(element.parentElement), getComputedStyle(element).backgroundColor] : ["white"];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const low = [];
    while (texts.nextNode()) {
        const [text, element] = [texts.currentNode.data.trim(), texts.currentNode.parentElement];
        if (!text || !element.checkVisibility() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
        const style = getComputedStyle(element);
        const back = behind(element);
        const [a, b] = [over(back), over([...back, style.color])].map(luminance);
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const size = parseFloat(style.fontSize);
        const isLarge = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
        if (contrast < (isLarge ? 3 : 4.5)) low.push(`${contrast.toFixed(2)}: ${text.slice(0, 40)}`);
    }
    return [...new Set(low)];
})()"#;

#[kata_test(command = "chromium", timeout = "120s")]
fn the_contrast_of_every_text_meets_wcag_aa() {
    let report = Report::of_every_outcome();
    let mut browser = Browser::start();
    for light in ["light", "dark"] {
        browser.prefers(light);
        browser.open(&report.file());
        assert_eq!(browser.evaluate(LOW_CONTRAST), json!([]), "{light}");
    }
    // The check itself finds what is too faint.
    browser.evaluate("document.body.style.color = '#777', document.body.style.background = '#888'");
    assert_ne!(browser.evaluate(LOW_CONTRAST), json!([]));
}

/// Texts that are cut off: a parent without a scroll bar hides a part of them, with an ellipsis or without. What is
/// hidden as a whole, such as a menu that is closed, is not cut off.
const CUT_OFF: &str = r#"(() => {
    const hides = (overflow) => ["hidden", "clip"].includes(overflow);
    const scrolls = (overflow) => ["auto", "scroll"].includes(overflow);
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const cut = [];
    while (texts.nextNode()) {
        const [text, parent] = [texts.currentNode.data.trim(), texts.currentNode.parentElement];
        if (!text || !parent.checkVisibility({ visibilityProperty: true })) continue;
        if (["SCRIPT", "STYLE"].includes(parent.tagName)) continue;
        const range = document.createRange();
        range.selectNodeContents(texts.currentNode);
        let { left, right, top, bottom } = range.getBoundingClientRect();
        for (let element = parent, position = "static"; element; element = element.parentElement) {
            const style = getComputedStyle(element);
            // What is positioned is not in a parent that is not.
            const isOutside = position === "fixed" || position === "absolute" && style.position === "static";
            if (!isOutside) {
                const box = element.getBoundingClientRect();
                // For screen readers only.
                if (box.width <= 1 && box.height <= 1) break;
                const [x, y] = [style.overflowX, style.overflowY];
                if (hides(x) && (left < box.left - 1 || right > box.right + 1) ||
                    hides(y) && (top < box.top - 1 || bottom > box.bottom + 1)) {
                    cut.push(`${element.tagName}.${element.className}: ${text.slice(0, 40)}`);
                    break;
                }
                // The rest can be scrolled to.
                if (scrolls(x)) [left, right] = [box.left, box.right];
                if (scrolls(y)) [top, bottom] = [box.top, box.bottom];
                position = style.position;
            }
        }
    }
    return cut;
})()"#;

/// What a reader sees who opens everything that can be opened.
const OPEN_ALL: &str =
    "document.querySelectorAll('details').forEach((details) => { details.open = true; })";

/// The width of a phone and of a desktop, each in the light and in the dark.
const VIEWS: [(&str, u32); 4] = [
    ("light", 360),
    ("dark", 360),
    ("light", 1280),
    ("dark", 1280),
];

/// Opens a page in each view, and returns what is wrong there.
fn wrong_in_views(browser: &mut Browser, page: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (scheme, width) in VIEWS {
        browser.prefers(scheme);
        browser.is_wide(width);
        browser.open(page);
        browser.evaluate(OPEN_ALL);
        let sticks_out =
            "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        let found = json!([browser.evaluate(CUT_OFF), browser.evaluate(sticks_out)]);
        if found != json!([[], 0]) {
            wrong.push(format!("{page}, {scheme}, {width} wide: {found}"));
        }
    }
    wrong
}

#[kata_test(command = "chromium", timeout = "120s")]
fn the_report_fits_its_window_and_no_text_is_cut_off() {
    let report = Report::of_every_outcome();
    let mut browser = Browser::start();
    assert_eq!(wrong_in_views(&mut browser, &report.file()), [""; 0]);
    // The check itself finds what is cut off, and takes what can be scrolled.
    let seen = |style: &str, text: &str| {
        format!(
            "document.querySelector('main').innerHTML = `<div style='width: 5em; {style}'><p>{text}</p></div>`; {CUT_OFF}"
        )
    };
    for (style, is_cut) in [
        ("overflow: hidden; white-space: nowrap", true),
        (
            "overflow: clip; text-overflow: ellipsis; white-space: nowrap",
            true,
        ),
        ("overflow: hidden; height: 1em", true),
        ("overflow: auto; height: 1em; white-space: nowrap", false),
        ("", false),
    ] {
        let cut = browser.evaluate(&seen(style, "a text that is longer than its box"));
        assert_eq!(cut != json!([]), is_cut, "{style}: {cut}");
    }
}

/// The pages that `cargo xtask book` has made.
fn book() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/book-source/book")
}

fn book_is_built() -> Verdict {
    let index = book().join("index.html");
    match index.exists() {
        true => Verdict::met("the book", "target/book-source"),
        false => Verdict::unmet(
            "the book is not built; run `cargo xtask book`",
            "target/book-source",
        ),
    }
}

#[kata_test(command = "chromium", when = book_is_built, timeout = "300s")]
fn no_page_of_the_book_is_wider_than_its_window_or_has_a_text_cut_off() {
    let book = book().canonicalize().expect("a folder");
    let mut browser = Browser::start();
    let (mut pages, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(&book).expect("pages") {
        let page = entry.expect("a page").path();
        let name = page
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if !name.ends_with(".html") || ["404.html", "print.html", "toc.html"].contains(&&*name) {
            continue;
        }
        wrong.extend(wrong_in_views(&mut browser, &page.display().to_string()));
        pages += 1;
    }
    assert_eq!(wrong, [""; 0]);
    assert!(pages > 15, "only {pages} pages");
    browser.has_no_complaint();
}

#[kata_test(command = "chromium", timeout = "120s")]
fn two_thousand_tests_can_be_read_and_filtered() {
    let report = Report::of_many(2000);
    let mut browser = Browser::start();
    browser.open(&report.file());
    let rows = "document.querySelectorAll('table.matrix tbody tr').length";
    assert_eq!(browser.evaluate(rows), json!(2000));
    browser.evaluate(
        "new Promise((done) => {
            const box = document.getElementById('filter');
            box.value = 't_1999';
            box.dispatchEvent(new Event('input'));
            requestAnimationFrame(() => requestAnimationFrame(done));
        })",
    );
    let shown = "document.getElementById('shown').textContent";
    assert_eq!(browser.evaluate(shown), json!("1 of 2000 tests"));
    browser.has_no_complaint();
}

fn read(value: Value) -> Vec<[String; 4]> {
    serde_json::from_value(value).expect("rows")
}
