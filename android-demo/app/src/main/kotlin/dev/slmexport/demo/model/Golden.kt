package dev.slmexport.demo.model

import org.json.JSONArray
import org.json.JSONObject

/** Texts with the reference's answers, and what each artifact gave for them on the computer that made the bundle. */
class Golden(json: JSONObject) {
    val samples: List<Sample> = json.getJSONArray("samples").objects().map(::Sample)
    private val artifacts = json.getJSONObject("artifacts")

    fun of(artifact: Artifact): Recorded? = artifacts.optJSONObject(artifact.path)?.let(::Recorded)
}

class Sample(json: JSONObject) {
    val text: String = json.getString("text")
    val pair: String? = json.text("pair")
    val words: List<String> = json.array("words")?.strings().orEmpty()
    val specialTokens: Boolean = json.optBoolean("special_tokens", true)
    val ids: IntArray = json.getJSONArray("input_ids").ints()
    val types: IntArray? = json.array("token_type_ids")?.ints()
    val positions: IntArray? = json.array("positions")?.ints()
    val spans: List<IntArray>? = json.array("spans")?.items { getJSONArray(it).ints() }
    val columns: IntArray? = json.array("columns")?.ints()
    val steps: List<Step> = json.array("steps")?.objects().orEmpty().map { Step(it.getJSONArray("compared").ints()) }
    val answer: Any? = if (json.isNull("answer")) null else json.get("answer")
}

/** Tokens whose logits are compared at a position of a text. */
class Step(val compared: IntArray)

class Recorded(json: JSONObject) {
    val outputs: List<Matrix> = json.getJSONArray("outputs").items { matrix(getJSONArray(it)) }
    val minCosine: Double = json.getDouble("min_cosine")
    val maxError: Double? = json.double("max_abs_error")
}

private fun matrix(rows: JSONArray): Matrix {
    val columns = if (rows.length() == 0) 0 else rows.getJSONArray(0).length()
    return Matrix(rows.length(), columns, FloatArray(rows.length() * columns) {
        rows.getJSONArray(it / columns).getDouble(it % columns).toFloat()
    })
}
