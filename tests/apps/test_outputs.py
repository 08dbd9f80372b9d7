"""Where the pictures of predictions go."""

import os

from onetrunk.apps.outputs import picture_stems


def test_pictures_lie_as_their_images_do_below_the_folder_they_share() -> None:
    assert picture_stems(["/a/b/c/1.jpg", "/a/b/d/1.jpg"]) == {"/a/b/c/1.jpg": "c/1", "/a/b/d/1.jpg": "d/1"}
    assert picture_stems(["photos/1.jpg"]) == {"photos/1.jpg": "1"}
    assert picture_stems([]) == {}


def test_images_that_differ_in_their_ending_keep_it() -> None:
    stems = picture_stems(["p/1.jpg", "p/1.png", "p/2.jpg"])
    assert stems == {"p/1.jpg": "1.jpg", "p/1.png": "1.png", "p/2.jpg": "2"}


def test_no_path_leads_out_of_the_folder() -> None:
    stems = picture_stems(["../x/1.jpg", "y/1.jpg", os.path.abspath("z.jpg")])
    assert len(set(stems.values())) == 3
    assert not any(stem.startswith(("/", "..")) for stem in stems.values())
