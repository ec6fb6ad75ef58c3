import re

import pytest

from d2c.diffusion.pretrained import RELEASES


@pytest.mark.parametrize("name", list(RELEASES))
def test_what_is_said_of_a_release(name):
    release = RELEASES[name]
    assert release.name == name
    assert release.address.startswith("https://")
    assert release.homepage.startswith("https://github.com/")
    assert re.fullmatch(r"[\w.-]+\.pt", release.file)
    assert release.commercial is ("non-commercial" not in release.licence)
    config = release.config
    assert (config.num_classes, config.channels, config.image_size * 8) == (1000, 4, release.image_size)
    assert config.out_channels == (4 if release.path == "repa" else 8)
    assert re.fullmatch(r"(|[0-9a-f]{64})", release.sha256)


def test_files_do_not_share_a_place():
    assert len({release.file for release in RELEASES.values()}) == len(RELEASES)
