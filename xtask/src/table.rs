//! Tables on the terminal.

use comfy_table::{CellAlignment, Table, presets};

/// Prints rows of a name and a figure.
pub fn print(header: [&str; 2], rows: impl IntoIterator<Item = [String; 2]>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}
