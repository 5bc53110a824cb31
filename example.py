"""The method on one page: restore photographs from a DIP start, and from noise. A quarter of a minute on two cores."""

from dipddpm.data import open_dataset, to_float
from dipddpm.denoisers import open_denoiser
from dipddpm.dip.skip import SkipNet
from dipddpm.fitting import fit_dip
from dipddpm.injection.start import Start
from dipddpm.metrics.psnr import Psnr
from dipddpm.restore import Setting, restore
from dipddpm.rng import ImageRng, image_keys
from dipddpm.tasks.inpaint import Inpaint

denoiser = open_denoiser("unet")  # the small DDPM that ships with the package
pixels = open_dataset("photo-patches").sample("test", 4)  # uint8
x_0, keys = to_float(pixels), image_keys(pixels)  # every image owns its randomness, by its key

y = Inpaint().observe(x_0, ImageRng.for_images(keys, "mask"))  # observe: y = A x_0, 70 % of the pixels missing
mu = fit_dip(SkipNet, y, ImageRng.for_images(keys, "dip"), iterations=[150]).mu(150)  # fit: an untrained network, to y
mu = y.consistent(mu)
starts = {
    "noise": (None, Setting(nfe=20, eta=1.0, travel=5)),
    "DIP": (mu, Setting(nfe=5, injection=Start(), t0=100)),
}

for name, (start, setting) in starts.items():  # inject, sample, and score
    x_hat, nfe = restore(denoiser, y, start, setting, ImageRng.for_images(keys, "sample"))
    print(f"from {name}: {Psnr()(x_hat, x_0).mean():.2f} dB after {nfe} network evaluations")
print(f"the DIP alone: {Psnr()(mu, x_0).mean():.2f} dB")
