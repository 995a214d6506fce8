//! Tables for a terminal.

use comfy_table::{ContentArrangement, Row, Table, presets};

/// Returns a table with these headings, which fits into the terminal.
pub(super) fn with_headings(headings: impl Into<Row>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(headings);
    table
}
