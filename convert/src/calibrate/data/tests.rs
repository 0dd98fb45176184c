//! Samples out of archives, images and nothing.

use super::*;
use quaver_core::graph::op::{Pool, PoolFn, Window};
use quaver_core::graph::{Network, Op};

fn network(shape: &[usize]) -> Network {
    let mut net = Network::new("n");
    let dims = std::iter::once(Dim::BATCH).chain(shape.iter().map(|&d| d.into())).collect();
    net.input("x", DType::F32, dims);
    net
}

fn write_npz(path: &Path, name: &str, shape: &[u64], data: &[f64]) {
    use npyz::WriterBuilder;
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).expect("creates"));
    zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).expect("starts");
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut zip).begin_nd().expect("begins");
    writer.extend(data.iter().copied()).expect("writes");
    writer.finish().expect("finishes");
    zip.finish().expect("finishes");
}

#[test]
fn npz_rows_are_samples() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("s.npz");
    write_npz(&path, "anything", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let samples = Samples::from_npz(&path, &network(&[3]).graph).expect("fits");
    assert_eq!(samples.len(), 2);
    assert_eq!(samples.get(1).expect("there")[0], HostTensor { shape: vec![1, 3], data: vec![4.0, 5.0, 6.0] });
    assert!(matches!(Samples::from_npz(&path, &network(&[4]).graph), Err(DataError::Shape { .. })));
}

#[test]
fn a_network_of_a_fixed_batch_gets_as_many_rows() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("s.npz");
    write_npz(&path, "x", &[5, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
    let mut net = Network::new("n");
    net.input("x", DType::F32, vec![2.into(), 2.into()]);
    let samples = Samples::from_npz(&path, &net.graph).expect("fits");
    assert_eq!(samples.len(), 2);
    assert_eq!(samples.get(1).expect("there")[0], HostTensor { shape: vec![2, 2], data: vec![5.0, 6.0, 7.0, 8.0] });
}

#[test]
fn arrays_of_truth_are_zeros_and_ones() {
    let mut bytes = Vec::new();
    let mut writer = {
        use npyz::WriterBuilder;
        npyz::WriteOptions::new().default_dtype().shape(&[3]).writer(&mut bytes).begin_nd().expect("begins")
    };
    writer.extend([true, false, true]).expect("writes");
    writer.finish().expect("finishes");
    let (shape, array) = read_array(npyz::NpyFile::new(&bytes[..]).expect("reads"), "mask").expect("reads");
    assert_eq!((shape, array.into_f32()), (vec![3], vec![1.0, 0.0, 1.0]));
}

#[test]
fn archives_of_a_folder_are_samples_as_they_are() {
    let folder = tempfile::tempdir().expect("folder");
    let graph = network(&[3]).graph;
    assert!(matches!(Samples::from_archives(folder.path(), &graph), Err(DataError::NoArchives { .. })));
    write_npz(&folder.path().join("b.npz"), "x", &[1, 3], &[7.0, 8.0, 9.0]);
    write_npz(&folder.path().join("a.npz"), "x", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let samples = Samples::from_archives(folder.path(), &graph).expect("fits");
    let shapes: Vec<_> = samples.iter().map(|sample| sample.expect("fits")[0].shape.clone()).collect();
    assert_eq!(shapes, [[2, 3], [1, 3]]);
    write_npz(&folder.path().join("c.npz"), "x", &[1, 4], &[0.0; 4]);
    let samples = Samples::from_archives(folder.path(), &graph).expect("there");
    assert!(matches!(samples.get(2), Err(DataError::Feed { got, .. }) if got == [1, 4]));
}

#[test]
fn pixels_are_scaled_by_channel() {
    let folder = tempfile::tempdir().expect("folder");
    image::RgbImage::from_pixel(10, 8, image::Rgb([255, 51, 0])).save(folder.path().join("a.png")).expect("saves");
    let options = ImageOptions { mean: [0.5, 0.2, 0.0], std: [0.5, 1.0, 1.0], bgr: true, ..ImageOptions::default() };
    let samples = Samples::from_images(folder.path(), &network(&[3, 4, 4]).graph, &options).expect("fits");
    let x = &samples.get(0).expect("an image")[0];
    assert_eq!(x.shape, [1, 3, 4, 4]);
    for (got, wanted) in [(x.data[0], -1.0), (x.data[16], 0.0), (x.data[32], 1.0)] {
        assert!((got - wanted).abs() < 1e-6, "{got} {wanted}");
    }
    std::fs::write(folder.path().join("b.jpg"), b"no image").expect("writes");
    let samples = Samples::from_images(folder.path(), &network(&[3, 4, 4]).graph, &options).expect("fits");
    assert!(matches!(samples.get(1), Err(DataError::NotAnImage { .. })));
    assert!(matches!(Samples::from_images(folder.path(), &network(&[7]).graph, &options), Err(DataError::NotAnImageInput { .. })));
}

#[test]
fn random_samples_are_as_long_as_a_run_needs() {
    // Two windows of 100 and 5 at strides as long take 500 at least.
    let mut net = Network::new("wave");
    let x = net.input("x", DType::F32, vec![Dim::BATCH, 1.into(), Dim::symbol("T"), 1.into()]);
    let pool = |net: &mut Network, x, extent: usize| {
        let window = Window { kernel: [1, extent], strides: [1, extent], ..Window::unit() };
        let op = Op::Pool(Pool { function: PoolFn::Max, window, ceil_mode: false, count_include_pad: false });
        net.push(op, &[x], "", "").expect("fits")
    };
    let first = pool(&mut net, x, 100);
    let y = pool(&mut net, first, 5);
    net.output(y);
    assert_eq!(Samples::random(1, &net.graph).get(0).expect("random")[0].shape, [1, 1, 1024, 1]);
}

#[test]
fn random_samples_are_repeatable_and_normal() {
    let samples = Samples::random(2, &network(&[5000]).graph);
    let (a, b) = (samples.get(0).expect("random"), samples.get(0).expect("random"));
    assert_eq!(a, b);
    assert_ne!(a, samples.get(1).expect("random"));
    let mean = a[0].data.iter().sum::<f32>() / 5000.0;
    let var = a[0].data.iter().map(|x| x * x).sum::<f32>() / 5000.0;
    assert!(mean.abs() < 0.06 && (var - 1.0).abs() < 0.1, "{mean} {var}");
}
