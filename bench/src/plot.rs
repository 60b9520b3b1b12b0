//! A case as a picture: a bar for each side, as long as its median, with a line from the least to the most.

use crate::report::Outcome;
use std::fmt::Write as _;

const BAR: f64 = 22.0;
const ROW: f64 = 34.0;
const NAMES: f64 = 150.0;
const BARS: f64 = 480.0;
const FIGURES: f64 = 130.0;

pub fn bars(outcome: &Outcome) -> String {
    let rows: Vec<_> = outcome.rated().collect();
    let longest = rows
        .iter()
        .map(|(_, rate)| rate.most)
        .fold(f64::MIN_POSITIVE, f64::max);
    let (width, height) = (NAMES + BARS + FIGURES, ROW * (rows.len() as f64 + 1.0));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n<text x=\"4\" y=\"20\" font-weight=\"bold\">{}, a second</text>\n",
        escaped(outcome.case.name)
    );
    for (place, (measured, rate)) in rows.iter().enumerate() {
        let top = ROW * (place as f64 + 1.0);
        let middle = top + BAR / 2.0;
        let x = |value: f64| NAMES + BARS * value / longest;
        let colour = if place == 0 { "#2a6f97" } else { "#a9b8c2" };
        // Into a string: can't fail.
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><rect x=\"{NAMES}\" y=\"{top}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/><line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"black\"/><text x=\"{:.1}\" y=\"{}\">{:.0}</text>",
            NAMES - 8.0,
            middle + 5.0,
            escaped(&measured.name),
            x(rate.median) - NAMES,
            x(rate.least),
            x(rate.most),
            x(rate.most) + 8.0,
            middle + 5.0,
            rate.median,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
