//! Charts of what was measured, as SVG.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// A layer, in order of execution.
#[derive(Debug, Clone, Copy)]
pub struct Point<'a> {
    /// The node.
    pub name: &'a str,
    /// Its SQNR in the whole network.
    pub db: f64,
    /// Its SQNR where operands are the float network's.
    pub alone_db: Option<f64>,
}

/// Beyond this the quantized value is as good as the float one; exact values would flatten the rest.
const MOST_DB: f64 = 60.0;

/// SQNR along a network: one line for the whole, one for each layer alone. The worst layers have names.
pub fn sqnr(title: &str, points: &[Point<'_>]) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, title, points).map_err(|e| anyhow!("the chart cannot be drawn: {e}"))?;
    Ok(svg)
}

fn draw(svg: &mut String, title: &str, points: &[Point<'_>]) -> Result<(), Box<dyn std::error::Error>> {
    const NAMED: usize = 5;
    const WHOLE: RGBColor = RGBColor(31, 96, 196);
    const ALONE: RGBColor = RGBColor(214, 110, 20);
    let root = SVGBackend::with_string(svg, (1200, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let least = points.iter().flat_map(|p| [Some(p.db), p.alone_db]).flatten().fold(0.0, f64::min);
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("{title}: SQNR of its layers"), ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d(0..points.len().max(2) - 1, least..MOST_DB)?;
    chart.configure_mesh().x_desc("layer, in order of execution").y_desc("SQNR, dB").light_line_style(WHITE).draw()?;
    let whole = points.iter().enumerate().map(|(i, p)| (i, p.db.min(MOST_DB)));
    chart.draw_series(LineSeries::new(whole, WHOLE.stroke_width(2)))?.label("in the network").legend(mark(WHOLE));
    let alone: Vec<(usize, f64)> = points.iter().enumerate().filter_map(|(i, p)| Some((i, p.alone_db?.min(MOST_DB)))).collect();
    chart.draw_series(LineSeries::new(alone.iter().copied(), ALONE.stroke_width(1)))?.label("alone").legend(mark(ALONE));
    let mut worst = alone;
    worst.sort_by(|a, b| a.1.total_cmp(&b.1));
    for &(i, db) in worst.iter().take(NAMED) {
        chart.draw_series([Circle::new((i, db), 4, ALONE.filled())])?;
        let anchor = if i > points.len() * 3 / 4 { -8 * points[i].name.len() as i32 } else { 6 };
        let name = EmptyElement::at((i, db)) + Text::new(points[i].name.to_owned(), (anchor, 6), ("sans-serif", 13));
        chart.draw_series([name])?;
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw()?;
    root.present()?;
    Ok(())
}

fn mark(colour: RGBColor) -> impl Fn((i32, i32)) -> PathElement<(i32, i32)> {
    move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], colour.stroke_width(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_layers_have_names() {
        let names: Vec<String> = (0..20).map(|i| format!("layer{i}")).collect();
        let point = |i: usize| Point { name: &names[i], db: 30.0, alone_db: Some(if i == 7 { 5.0 } else { 40.0 + i as f64 }) };
        let svg = sqnr("a network", &(0..20).map(point).collect::<Vec<_>>()).expect("drawn");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("layer7") && !svg.contains("layer19") && svg.contains("a network: SQNR"));
        assert!(sqnr("empty", &[]).is_ok());
    }
}
