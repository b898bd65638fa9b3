//! How things look: colours, aligned columns, lists of facts. It never prints, and knows no terminal but what it was told of it.

use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table};

use super::text::{plain, shortened};
use crate::time::UnixMillis;

/// What a rendering needs to know of where it will be seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    /// The moment that relative times are told from.
    pub(super) now: UnixMillis,
    /// Whether colours are wanted.
    pub(super) colour: bool,
    /// Columns of the terminal; without one, nothing is wrapped.
    pub(super) width: Option<u16>,
    /// Lines of the terminal, where there is one.
    pub(super) height: Option<u16>,
}

/// What a colour says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Waiting, or stopped on purpose.
    Waiting,
    /// Wrong.
    Bad,
    /// A heading or label.
    Label,
}

impl Tone {
    /// The colour in a table, and its number in SGR 30 to 37 (ECMA-48) elsewhere.
    const fn colour(self) -> Option<(Color, u8)> {
        match self {
            Self::Plain => None,
            Self::Good => Some((Color::DarkGreen, 32)),
            Self::Waiting => Some((Color::DarkYellow, 33)),
            Self::Bad => Some((Color::DarkRed, 31)),
            Self::Label => Some((Color::DarkCyan, 36)),
        }
    }
}

/// A cell's text and what its colour says.
pub(super) type Toned = (Tone, String);

/// Text without a colour, for a cell.
pub(super) fn uncoloured(text: impl Into<String>) -> Toned {
    (Tone::Plain, text.into())
}

impl Screen {
    /// `text` on one line in its colour, made harmless.
    pub(super) fn paint(&self, tone: Tone, text: &str) -> String {
        match tone.colour().filter(|_| self.colour) {
            Some((_, colour)) => format!("\u{1b}[{colour}m{}\u{1b}[0m", plain(text)),
            None => plain(text).into_owned(),
        }
    }

    /// `text` in its colour on one line of the screen, cut where it does not fit.
    pub(super) fn clipped(&self, tone: Tone, text: &str) -> String {
        let text = plain(text);
        let text = match self.width.map(usize::from) {
            Some(width) if text.chars().count() > width => shortened(&text, width.saturating_sub(1)),
            _ => text,
        };
        self.paint(tone, text.trim_end()) + "\n"
    }

    /// A sentence that is not to be overlooked, on as many lines as it takes.
    pub(super) fn warning(&self, tone: Tone, text: &str) -> String {
        let lines = text.lines().enumerate().map(|(index, line)| self.quoted(if index == 0 { "! " } else { "  " }, line));
        lines.collect::<String>().lines().map(|line| self.paint(tone, line) + "\n").collect()
    }

    /// Aligned columns without lines. The columns `whole` are never broken over lines: ids are there to be copied.
    pub(super) fn table(&self, header: &[&str], rows: Vec<Vec<Toned>>, whole: &[usize]) -> String {
        let mut table = self.bare_table();
        table.set_header(header.iter().map(|title| self.cell((Tone::Label, (*title).to_owned()))));
        self.filled(table, rows, whole, 0)
    }

    /// Aligned columns without a heading, behind an indentation.
    pub(super) fn rows(&self, rows: Vec<Vec<Toned>>, whole: &[usize], indentation: u16) -> String {
        self.filled(self.bare_table(), rows, whole, indentation)
    }

    /// Labelled facts, one a line, indented.
    pub(super) fn facts(&self, facts: Vec<(&str, Toned)>) -> String {
        let rows = facts.into_iter().map(|(label, toned)| vec![(Tone::Label, label.to_owned()), toned]);
        self.rows(rows.collect(), &[0], 2)
    }

    fn filled(&self, mut table: Table, rows: Vec<Vec<Toned>>, whole: &[usize], indentation: u16) -> String {
        for row in rows {
            table.add_row(row.into_iter().map(|toned| self.cell(toned)));
        }
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((if index == 0 { indentation } else { 0 }, 2));
            if whole.contains(&index) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        table.trim_fmt() + "\n"
    }

    /// `text` behind a margin, each line broken at the width of the screen.
    pub(super) fn quoted(&self, margin: &str, text: &str) -> String {
        let room = self.width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(margin.chars().count()).max(20));
        let mut quoted = String::new();
        for line in text.lines() {
            for piece in plain(line).chars().collect::<Vec<_>>().chunks(room) {
                quoted.extend(margin.chars().chain(piece.iter().copied()).chain(['\n']));
            }
        }
        quoted
    }

    fn bare_table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING).force_no_tty();
        if self.colour {
            table.enforce_styling().style_text_only();
        }
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        table
    }

    fn cell(&self, (tone, text): Toned) -> Cell {
        let cell = Cell::new(plain(&text));
        tone.colour().filter(|_| self.colour).map_or(cell.clone(), |(colour, _)| cell.fg(colour))
    }
}

#[cfg(test)]
pub(super) const PIPE: Screen = Screen { now: UnixMillis(1_795_428_000_000), colour: false, width: None, height: None };

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<Toned>> {
        vec![
            vec![uncoloured("crm"), (Tone::Good, "sending".into()), uncoloured("a long sentence about nothing in particular")],
            vec![uncoloured("billing-2"), (Tone::Bad, "fail\u{1b}[2Jing".into()), uncoloured("short")],
        ]
    }

    #[test]
    fn a_pipe_gets_aligned_columns_and_nothing_a_terminal_would_obey() {
        insta::assert_snapshot!(PIPE.table(&["ID", "STATE", "WHY"], rows(), &[0]), @"
        ID         STATE        WHY
        crm        sending      a long sentence about nothing in particular
        billing-2  fail␛[2Jing  short
        ");
    }

    #[test]
    fn a_terminal_gets_lines_that_fit() {
        let narrow = Screen { width: Some(44), ..PIPE };
        let table = narrow.table(&["ID", "STATE", "WHY"], rows(), &[0]);
        assert!(table.lines().all(|line| line.chars().count() <= 44), "{table}");
        assert!(table.contains("billing-2"), "ids stay whole: {table}");
        assert!(PIPE.paint(Tone::Bad, "x\u{7}") == "x␇" && !PIPE.colour);
        assert_eq!(Screen { colour: true, ..PIPE }.paint(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }

    #[test]
    fn quoted_text_is_broken_at_the_width_and_cannot_escape_its_margin() {
        let narrow = Screen { width: Some(30), ..PIPE };
        let quoted = narrow.quoted("  | ", "short\u{1b}[1A\nlong long long long long long long");
        insta::assert_snapshot!(quoted, @"
        | short␛[1A
        | long long long long long l
        | ong long
        ");
    }
}
