package dev.slmexport.demo.model

import org.json.JSONObject

class FileRecord(val path: String, val bytes: Long, val sha256: String)

/** A tensor that goes in or comes out; a dimension is null where any size is taken. */
class TensorSpec(val name: String, val dtype: String, val shape: List<Int?>)

/** One of the lengths that a .tflite was made for. */
class Signature(val name: String, val sequence: Int)

/** One of the graphs of a model that writes. */
class Part(val name: String, val path: String, val inputs: List<TensorSpec>)

/** How an answer is written: the ids that end one, and the most tokens it may have. */
class Rules(val ends: Set<Int>, val mostTokens: Int)

/** A model file of the bundle, and what its manifest promises of it. */
class Artifact(json: JSONObject) {
    val format: String = json.getString("format")
    val scheme: String = json.getString("scheme")
    val path: String = json.getString("path")
    val files: List<FileRecord> = json.getJSONArray("files").objects().map(::fileRecord)
    val inputs: List<TensorSpec> = specs(json, "inputs")
    val outputs: List<TensorSpec> = specs(json, "outputs")
    val parts: List<Part> = json.array("parts")?.objects().orEmpty()
        .map { Part(it.getString("name"), it.getString("path"), specs(it, "inputs")) }
    val rules: Rules? = json.optJSONObject("generation")
        ?.let { Rules(it.getJSONArray("ends").ints().toSet(), it.getInt("max_new_tokens")) }
    val signatures: List<Signature> = json.array("signatures")?.objects().orEmpty()
        .map { Signature(it.getString("name"), it.getInt("sequence")) }.sortedBy { it.sequence }
    val batch: Int = json.int("batch") ?: 1
    val maxLength: Int = json.getInt("max_length")
    val padId: Int = json.getInt("pad_id")
    val provenIn: String = json.getJSONObject("runtime").let { "${it.getString("package")} ${it.getString("version")}" }

    /** Settings of the runtime's session that the artifact was proven with. */
    val options: Map<String, String> = json.getJSONObject("runtime").optJSONObject("options")
        ?.let { given -> given.keys().asSequence().associateWith(given::getString) }.orEmpty()
    val memoryBytes: Long = json.getJSONObject("memory").let {
        it.long("first_load_bytes") ?: (it.getLong("weights_bytes") + it.getLong("activations_bytes"))
    }

    override fun toString() = "$path ($scheme)"
}

fun fileRecord(json: JSONObject) = FileRecord(json.getString("path"), json.getLong("bytes"), json.getString("sha256"))

private fun specs(json: JSONObject, name: String) = json.getJSONArray(name).objects().map { spec ->
    val shape = spec.getJSONArray("shape")
    TensorSpec(spec.getString("name"), spec.getString("dtype"), shape.items { get(it) as? Int })
}
