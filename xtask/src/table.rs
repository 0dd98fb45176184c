//! Tables on the terminal.

use comfy_table::{CellAlignment, Row, Table, presets};

/// Prints rows of a name and figures.
pub fn print(header: impl Into<Row>, rows: impl IntoIterator<Item = impl Into<Row>>) {
    println!("{}", text(header, rows));
}

/// Prints rows of a name, figures, and words at the end.
pub fn print_with_words(header: impl Into<Row>, rows: impl IntoIterator<Item = impl Into<Row>>) {
    let mut table = table(header, rows);
    if let Some(last) = table.column_iter_mut().last() {
        last.set_cell_alignment(CellAlignment::Left);
    }
    println!("{table}");
}

/// Rows of a name and figures, as lines.
pub fn text(header: impl Into<Row>, rows: impl IntoIterator<Item = impl Into<Row>>) -> String {
    table(header, rows).to_string()
}

fn table(header: impl Into<Row>, rows: impl IntoIterator<Item = impl Into<Row>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
