"""Recipes: those that ship, every setting there is, and what is wrong with one of yours."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from gemma_keras_tune.recipe import Recipe
from gemma_keras_tune.recipe_files import shipped_recipes

from ..identity.access import Action
from .asking import Asking, to
from .naming import Names, Shown
from .problems import PREFIX, REFUSALS
from .recipes_given import LONGEST_TOML, check_recipe, from_toml, shipped, with_changes

router = APIRouter(prefix=f"{PREFIX}/recipes", tags=["recipes"], responses={**REFUSALS})
May = Annotated[Asking, Depends(to(Action.VIEW_RECIPES))]


class RecipeLine(BaseModel):
    """One recipe that ships."""

    name: str = Field(examples=["spam_classifier"])
    """What to ask for it by."""
    task: str = Field(examples=["classification"])
    """What its rows are."""
    preset: str = Field(examples=["demo"])
    """The model it starts from."""


class RecipeView(BaseModel):
    """A whole recipe. Files have names: `dataset:ID`, `shipped:FILE`, and models `model:ID`."""

    recipe: dict[str, JsonValue]
    """Every setting, with the defaults written out."""
    toml: str
    """The same for people: only what differs from the defaults."""


class RecipeGiven(BaseModel):
    """A recipe, given in one of three ways."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"recipe_name": "spam_classifier", "set": {"train.epochs": 1}},
                {"toml": 'name = "mine"\n[data]\npath = "shipped:spam_train.csv"\n'},
            ]
        },
    )

    recipe: dict[str, JsonValue] | None = None
    """Its settings."""
    toml: str | None = Field(default=None, max_length=LONGEST_TOML)
    """Its settings as TOML."""
    recipe_name: str | None = Field(default=None, min_length=1, max_length=100)
    """One that ships."""
    set: dict[str, JsonValue] = {}
    """What to change in it, by dotted key."""

    @model_validator(mode="after")
    def _one(self) -> RecipeGiven:
        if sum(way is not None for way in (self.recipe, self.toml, self.recipe_name)) != 1:
            raise ValueError("give one of recipe, toml and recipe_name")
        return self

    def settings(self, shown: Shown) -> dict[str, Any]:
        """All its settings, with names for files.

        Raises:
            RecipeError: `RECIPE_NOT_FOUND`, `RECIPE_SYNTAX` or `RECIPE_KEY`.
        """
        settings: dict[str, Any] = self.recipe or {}
        if self.toml is not None:
            settings = from_toml(self.toml)
        elif self.recipe_name is not None:
            settings = json.loads(shipped(self.recipe_name, shown).to_json())
        return with_changes(settings, self.set)


@router.get("")
async def list_recipes(asked: May) -> list[RecipeLine]:
    """Lists the recipes that ship."""
    shown = Shown(asked.root)
    found = {name: shipped(name, shown) for name in shipped_recipes()}
    return [
        RecipeLine(name=name, task=recipe.data.task, preset=recipe.model.preset)
        for name, recipe in found.items()
    ]


@router.get("/schema")
async def recipe_schema(asked: May) -> dict[str, JsonValue]:
    """Gives every setting with its help, bounds, unit and default, as JSON Schema."""
    return Recipe.model_json_schema(by_alias=True)


@router.post("/check")
async def check(asked: May, given: RecipeGiven) -> RecipeView:
    """Checks a recipe: answers with the whole of it, or with all that is wrong, by dotted key."""
    names = Names(asked.rows, asked.root)
    found = await check_recipe(given.settings(Shown(asked.root)), names)
    return view_of(found.shown)


@router.get("/{recipe_name}")
async def get_recipe(asked: May, recipe_name: str) -> RecipeView:
    """Gives one recipe that ships."""
    return view_of(shipped(recipe_name, Shown(asked.root)))


def view_of(recipe: Recipe) -> RecipeView:
    """A recipe as the API shows it."""
    return RecipeView(recipe=json.loads(recipe.to_json()), toml=recipe.to_toml())
