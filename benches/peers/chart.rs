//! Updates and searches against fleet size, as an SVG.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 110.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 40.0;

/// Colours that most people tell apart, in the sequence of the designs.
const COLOURS: [&str; 10] =
    ["#d55e00", "#f0b080", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#999999", "#000000", "#a00000"];

/// Both panels side by side. A design without a value of a kind has no line there.
pub(crate) fn draw(rows: &[Value]) -> String {
    let mut svg = String::new();
    let (wide, high) = (2.0 * WIDTH, HEIGHT);
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="sans-serif" font-size="11">"#
    );
    let _ = writeln!(svg, r##"<rect width="{wide}" height="{high}" fill="#ffffff"/>"##);
    for (panel, (field, title)) in
        [("updates_per_cpu_s", "updates per CPU second"), ("nearest_per_cpu_s", "nearest 20 per CPU second")]
            .into_iter()
            .enumerate()
    {
        draw_panel(&mut svg, panel as f64 * WIDTH, title, &lines(rows, field));
    }
    svg.push_str("</svg>\n");
    svg
}

/// Points of each design by fleet size, and the colour.
struct Line<'a> {
    name: &'a str,
    colour: &'static str,
    points: Vec<(f64, f64)>,
}

fn lines<'a>(rows: &'a [Value], field: &str) -> Vec<Line<'a>> {
    let mut order: Vec<&str> = Vec::new();
    let mut points: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for row in rows {
        let value = |field: &str| row[field].as_f64().filter(|value| *value > 0.0);
        let (Some(name), Some(x), Some(y)) = (row["design"].as_str(), value("drivers"), value(field)) else { continue };
        if !order.contains(&name) {
            order.push(name);
        }
        points.entry(name).or_default().push((x, y));
    }
    let line = |(name, colour): (&&'a str, &'static str)| Line { name, colour, points: points[*name].clone() };
    order.iter().zip(COLOURS).map(line).collect()
}

/// Powers of ten around values, as exponents.
fn decades(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let low = values.clone().fold(f64::INFINITY, f64::min).log10().floor();
    let high = values.fold(f64::NEG_INFINITY, f64::max).log10().ceil();
    (low, high.max(low + 1.0))
}

fn draw_panel(svg: &mut String, left: f64, title: &str, lines: &[Line<'_>]) {
    let all = || lines.iter().flat_map(|line| &line.points);
    if all().next().is_none() {
        return;
    }
    let (x_range, y_range) = (decades(all().map(|point| point.0)), decades(all().map(|point| point.1)));
    let scale = |value: f64, (low, high): (f64, f64)| (value.log10() - low) / (high - low);
    let x = |value: f64| left + LEFT + scale(value, x_range) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - scale(value, y_range) * (HEIGHT - TOP - BOTTOM);
    let _ = writeln!(svg, r#"<text x="{:.0}" y="22" font-size="13">{title}</text>"#, left + LEFT);
    let powers = |(low, high): (f64, f64)| (low as i32..=high as i32).map(|power| 10f64.powi(power));
    for value in powers(y_range) {
        let (from, to, at) = (x(10f64.powf(x_range.0)), x(10f64.powf(x_range.1)), y(value));
        let _ = writeln!(svg, r##"<path d="M{from:.0} {at:.1}H{to:.0}" stroke="#dddddd"/>"##);
        let _ = writeln!(
            svg,
            r#"<text x="{:.0}" y="{:.1}" text-anchor="end">{}</text>"#,
            from - 6.0,
            at + 4.0,
            short(value)
        );
    }
    for value in powers(x_range) {
        let at = x(value);
        let _ =
            writeln!(svg, r#"<text x="{at:.0}" y="{:.0}" text-anchor="middle">{}</text>"#, HEIGHT - 22.0, short(value));
    }
    let _ = writeln!(svg, r#"<text x="{:.0}" y="{:.0}">drivers</text>"#, left + WIDTH - RIGHT + 10.0, HEIGHT - 22.0);
    draw_lines(svg, lines, x, y);
}

fn draw_lines(svg: &mut String, lines: &[Line<'_>], x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) {
    // Names stand at the ends of their lines, below each other.
    let mut ends: Vec<(f64, &Line<'_>)> =
        lines.iter().filter_map(|line| Some((y(line.points.last()?.1) + 4.0, line))).collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut last = f64::NEG_INFINITY;
    for (end, line) in ends {
        let points: Vec<String> =
            line.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        let _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>"#,
            points.join(" "),
            line.colour
        );
        let right = line.points.last().map_or(0.0, |point| x(point.0));
        last = end.max(last + 12.0);
        let _ =
            writeln!(svg, r#"<text x="{:.0}" y="{last:.1}" fill="{}">{}</text>"#, right + 6.0, line.colour, line.name);
    }
}

/// A number in few characters: `30k`, `1M`, `0.1`.
pub(crate) fn short(value: f64) -> String {
    match value {
        value if value >= 1e9 => format!("{}G", three(value / 1e9)),
        value if value >= 1e6 => format!("{}M", three(value / 1e6)),
        value if value >= 1e3 => format!("{}k", three(value / 1e3)),
        value => three(value),
    }
}

/// Three digits at least, all that are before the point.
fn three(value: f64) -> String {
    let text = match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
