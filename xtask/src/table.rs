//! Tables on the terminal.

use comfy_table::{CellAlignment, Row, Table, presets};

/// Prints rows of a name and figures.
pub fn print(header: impl Into<Row>, rows: impl IntoIterator<Item = impl Into<Row>>) {
    println!("{}", text(header, rows));
}

/// Rows of a name and figures, as lines.
pub fn text(header: impl Into<Row>, rows: impl IntoIterator<Item = impl Into<Row>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}
