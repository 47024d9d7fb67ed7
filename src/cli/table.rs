//! Plain tables for a terminal.

use std::fmt::Write as _;

/// Lines the cells up under their headings; the last column is not padded.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|it| it.get(column)).map(|it| it.chars().count());
        let heading = headings.get(column).map_or(0, |it| it.chars().count());
        cells.chain([heading]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            // Writing to a string cannot fail.
            write!(text, "{cell:<width$}  ").ok();
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&mut headings.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "…1".to_owned()], vec!["long".to_owned(), String::new()]];
        assert_eq!(table(&["x", "key"], &rows), "x     key\na     …1\nlong\n");
    }
}
