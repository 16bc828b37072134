//! Tables, as Markdown and as JSON.

use serde_json::{Value, json};

/// A figure or a word.
#[derive(Clone, PartialEq, Debug)]
pub enum Cell {
    /// A word.
    Text(String),
    /// A figure, how many digits of its fraction are shown, and whether it
    /// can be trusted.
    Figure(f64, usize, bool),
    /// Nothing was measured.
    None,
}

impl Cell {
    /// A figure that can be trusted.
    pub fn figure(value: f64, digits: usize) -> Cell {
        Cell::Figure(value, digits, true)
    }

    /// How many times `of` goes into `value`.
    pub fn ratio(value: f64, of: f64) -> Cell {
        if of > 0.0 {
            Cell::figure(value / of, 2)
        } else {
            Cell::None
        }
    }

    fn markdown(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Figure(value, digits, trusted) => {
                format!("{value:.digits$}{}", if *trusted { "" } else { "*" })
            }
            Cell::None => "–".to_owned(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Cell::Text(text) => json!(text),
            Cell::Figure(value, ..) => json!(value),
            Cell::None => Value::Null,
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

/// A table and what it is about.
#[derive(Clone, Debug)]
pub struct Table {
    title: String,
    about: String,
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
    /// Text that belongs to the table, by title.
    notes: Vec<(String, Vec<String>)>,
}

impl Table {
    /// A table without rows; `about` says how it was measured.
    pub fn new(title: &str, about: &str, columns: &[&str]) -> Table {
        Table {
            title: title.to_owned(),
            about: about.to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a row, of as many cells as there are columns.
    pub fn row(&mut self, cells: Vec<Cell>) {
        assert_eq!(cells.len(), self.columns.len(), "{}", self.title);
        self.rows.push(cells);
    }

    /// Adds lines below the table.
    pub fn note(&mut self, title: String, lines: Vec<String>) {
        self.notes.push((title, lines));
    }

    /// As Markdown, with a blank line at its end.
    pub fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n{}\n\n", self.title, self.about);
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        text += &line(self.columns.clone());
        let numeric = |column: usize| {
            let mut cells = self.rows.iter().map(|row| &row[column]);
            !cells.any(|cell| matches!(cell, Cell::Text(_)))
        };
        let rule = |column| if numeric(column) { "---:" } else { "---" };
        text += &line(
            (0..self.columns.len())
                .map(|c| rule(c).to_owned())
                .collect(),
        );
        for row in &self.rows {
            text += &line(row.iter().map(Cell::markdown).collect());
        }
        for (title, lines) in &self.notes {
            text += &format!("\n{title}\n\n```text\n{}\n```\n", lines.join("\n"));
        }
        text
    }

    fn json(&self) -> Value {
        let row = |row: &Vec<Cell>| -> Value { row.iter().map(Cell::json).collect() };
        json!({
            "title": self.title,
            "about": self.about,
            "columns": self.columns,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

/// All tables as one array.
pub fn json(tables: &[Table]) -> Value {
    tables.iter().map(Table::json).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new("Costs", "Counted.", &["what", "ns"]);
        table.row(vec!["a read".into(), Cell::figure(1.25, 1)]);
        table.row(vec!["a write".into(), Cell::Figure(7.0, 0, false)]);
        table.row(vec!["nothing".into(), Cell::None]);
        table
    }

    #[test]
    fn a_table_is_markdown_with_figures_to_the_right() {
        let text = table().markdown();
        let lines: Vec<_> = text.lines().skip(4).collect();
        assert_eq!(
            lines,
            [
                "| what | ns |",
                "| --- | ---: |",
                "| a read | 1.2 |",
                "| a write | 7* |",
                "| nothing | – |"
            ]
        );
    }

    #[test]
    fn json_has_the_figures_unrounded() {
        let value = json(&[table()]);
        assert_eq!(value[0]["rows"][0][1], 1.25);
        assert_eq!(value[0]["rows"][2][1], Value::Null);
    }
}
