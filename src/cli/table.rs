//! Tables for people: columns as wide as their longest cell, and nothing that a terminal could mistake for a command.

use std::io::{self, Write};

/// Prints rows under a heading, two spaces between columns.
///
/// # Errors
/// Standard output cannot be written.
pub fn print<const N: usize>(out: &mut dyn Write, heading: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let mut widths = heading.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    line(out, &widths, heading.iter().copied())?;
    for row in rows {
        line(out, &widths, row.iter().map(String::as_str))?;
    }
    Ok(())
}

fn line<'a>(out: &mut dyn Write, widths: &[usize], cells: impl Iterator<Item = &'a str>) -> io::Result<()> {
    let mut text = String::new();
    for (width, cell) in widths.iter().zip(cells) {
        text.extend(cell.chars().map(|c| if c.is_control() { ' ' } else { c }));
        let pad = width.saturating_sub(cell.chars().count()) + 2;
        text.extend(std::iter::repeat_n(' ', pad));
    }
    writeln!(out, "{}", text.trim_end())
}
